"""make audit fails for what is vulnerable, and says so when nobody could tell."""

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

from aiohttp import web
from pytest_aiohttp import AiohttpServer

from tests.processes import PATIENCE, free_port

ROOT = Path(__file__).parent.parent
PINNED = re.findall(r"^(\S+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)


async def audit(url: str) -> tuple[int, str]:
    """The exit status of the audit and what it says, with another vulnerability service (OSV)."""
    command = [sys.executable, str(ROOT / ".ci" / "audit.py"), "--vulnerability-service=osv", f"--osv-url={url}"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    said, _ = await asyncio.wait_for(process.communicate(), timeout=PATIENCE)
    return process.returncode or 0, said.decode()


async def service(aiohttp_server: AiohttpServer, vulnerable: str, status: int = 200) -> str:
    """A vulnerability service that knows of one vulnerability, of one package."""

    async def query(request: web.Request) -> web.Response:
        asked: dict[str, Any] = json.loads(await request.text())
        package = asked["package"]
        if package["name"] != vulnerable:
            return web.json_response({}, status=status)
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}]
        affected = [{"package": package, "ranges": ranges}]
        return web.json_response({"vulns": [{"id": "PYSEC-1", "summary": "It leaks.", "affected": affected}]})

    app = web.Application()
    app.router.add_post("/", query)
    return str((await aiohttp_server(app)).make_url("/"))


async def test_what_is_vulnerable_fails_and_is_named_with_the_version_that_is_not(
    aiohttp_server: AiohttpServer,
) -> None:
    status, said = await audit(await service(aiohttp_server, "aiohttp"))
    assert status == 1
    assert said == f"aiohttp {dict(PINNED)['aiohttp']}: PYSEC-1, fixed in 99.1: It leaks.\n"


async def test_without_vulnerabilities_it_passes_and_says_how_many_were_looked_at(
    aiohttp_server: AiohttpServer,
) -> None:
    assert await audit(await service(aiohttp_server, "nothing")) == (
        0,
        f"{len(PINNED)} packages, no known vulnerabilities.\n",
    )


async def test_when_nobody_answers_it_passes_and_says_that_nothing_was_audited(aiohttp_server: AiohttpServer) -> None:
    for url in (f"http://127.0.0.1:{free_port()}/", await service(aiohttp_server, "nothing", status=500)):
        status, said = await audit(url)
        assert status == 0
        assert said.startswith("NOT AUDITED: no vulnerability service answered")
        assert "no known" not in said
