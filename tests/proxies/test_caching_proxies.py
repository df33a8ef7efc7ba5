"""Proxies that cache everything that a response doesn't forbid, and a service that stops and starts."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.proxies.conftest import MakeCaller
from tests.support.exports import User
from tests.support.processes import free_port, served
from tests.support.reverse_proxies import SERVERS, run_proxy, run_recommended

pytestmark = pytest.mark.xdist_group("proxies")

SITES = {
    "nginx": """
proxy_cache_path cache keys_zone=all:1m;
server {{
    listen 127.0.0.1:{port};
    proxy_cache all;
    proxy_cache_valid 200 302 401 404 503 1m;
    add_header X-Cache $upstream_cache_status always;
    location / {{ proxy_pass {service}; }}
}}
""",
    "apache": """
Listen 127.0.0.1:{port}
CacheSocache shmcb
CacheEnable socache /
CacheDefaultExpire 60
CacheIgnoreNoLastMod on
CacheHeader on
ProxyPass / {service}/
""",
}


@contextmanager
def run_caching(server: str, service: str) -> Iterator[str]:
    port = free_port()
    site = SITES[server].format(port=port, service=service)
    with run_proxy(server, site, port, modules=["cache_socache", "socache_shmcb"]):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module", params=SERVERS)
def caching(request: pytest.FixtureRequest, deployed: str) -> Iterator[str]:
    with run_caching(request.param, deployed) as url:
        yield url


async def test_a_cache_never_gives_a_list_to_another_user(caching: str, caller: MakeCaller) -> None:
    callers = [await caller(caching, coding="identity") for _ in range(2)]
    for revision in range(2):
        for number, each in enumerate(callers):
            title = f"{number} {revision}"
            assert (await each.call("POST", "api/tasks", json={"title": title})).status == 201
            titles = [task["title"] for task in await (await each.call("GET", "api/tasks?sort=title")).json()]
            assert titles == [f"{number} {n}" for n in range(revision + 1)]
    anonymous = await callers[0].call("GET", "api/tasks?sort=title", headers={"Authorization": ""})
    assert anonymous.status == 401
    assert (await callers[0].call("GET", "api/tasks?sort=title")).status == 200


@pytest.mark.parametrize(
    "address",
    ["health", "health/ready", "metrics", "docs", "docs/static/docs.js", "problems", "openapi.json", "x", "api/tasks"],
)
async def test_a_cache_never_answers_by_itself(caching: str, address: str) -> None:
    async with ClientSession() as session:  # without a token, because Apache ignores requests with one
        for _ in range(2):
            response = await session.get(f"{caching}{address}")
            assert not response.headers["X-Cache"].startswith("HIT")


async def test_writes_through_a_cache_keep_their_conditions(caching: str, caller: MakeCaller) -> None:
    alice = await caller(caching)
    created = await alice.call("POST", "api/tasks", json={"title": "x"})
    address = str(alice.at(created.headers["Location"], created.url))
    for method in ("PUT", "PATCH", "DELETE"):
        refused = await alice.call(method, address, json={"title": "y"}, headers={"If-Match": '"7"'})
        assert refused.status == 412


async def test_health_follows_the_service_at_once(
    service_database_url: str, caller: MakeCaller, tmp_path: Path
) -> None:
    """Neither a cache nor a memory of the last failure answers for the service."""
    port = free_port()
    service = f"http://127.0.0.1:{port}"
    with ExitStack() as stack:
        proxies = [run(server, service) for run in (run_recommended, run_caching) for server in SERVERS]
        urls = [stack.enter_context(proxy) for proxy in proxies]
        callers = [await caller(url, User("alice")) for url in urls]

        async def statuses() -> set[int]:
            return {(await each.call("GET", path)).status for each in callers for path in ("health", "health/ready")}

        assert await statuses() <= {502, 503}
        with served(tmp_path / "log", DATABASE_URL=service_database_url, PORT=str(port)):
            assert await statuses() == {200}
            assert await statuses() == {200}
        assert await statuses() <= {502, 503}
