"""Proxies that compress by themselves, and change entity tags: docs/configuration.md says what they do to clients."""

import gzip
import json
from collections.abc import Iterator

import pytest

from tests.proxies.conftest import Caller, MakeCaller
from tests.support.exports import MakeUser
from tests.support.processes import free_port
from tests.support.reverse_proxies import TYPES, run_proxy

pytestmark = pytest.mark.xdist_group("proxies")

NGINX = """
server {{
    listen 127.0.0.1:{port};
    gzip_proxied any;
    gzip_vary on;
    location / {{ proxy_pass {service}; }}
}}
"""
APACHE = """
Listen 127.0.0.1:{port}
ProxyPass / {service}/
AddOutputFilterByType {filter} {types}
"""


@pytest.fixture(scope="module")
def nginx(deployed: str) -> Iterator[str]:
    port = free_port()
    with run_proxy("nginx", NGINX.format(port=port, service=deployed), port):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module", params=[("DEFLATE", "gzip"), ("BROTLI_COMPRESS", "br")], ids=["deflate", "brotli"])
def apache(request: pytest.FixtureRequest, deployed: str) -> Iterator[tuple[str, str]]:
    """The address of an Apache that compresses, and the name of its coding."""
    port, (output_filter, coding) = free_port(), request.param
    site = APACHE.format(port=port, service=deployed, types=TYPES, filter=output_filter)
    with run_proxy("apache", site, port, modules=["brotli"]):
        yield f"http://127.0.0.1:{port}/", coding


async def create(alice: Caller) -> str:
    response = await alice.call("POST", "api/tasks", json={"title": "Buy milk", "description": "x" * 500})
    assert response.status == 201
    return str(alice.at(response.headers["Location"], response.url))


async def test_the_tags_of_apache_work_in_reads_and_writes(apache: tuple[str, str], caller: MakeCaller) -> None:
    url, coding = apache
    alice = await caller(url, coding=coding)
    address = await create(alice)
    tag = (await alice.call("GET", address)).headers["ETag"]
    for revision in range(1, 4):
        assert tag == f'"{revision}-{coding}"'
        for _ in range(2):
            known = await alice.call("GET", address, headers={"If-None-Match": tag})
            assert (known.status, known.headers["ETag"]) == (304, tag)
        changed = await alice.call("PATCH", address, json={"title": f"{revision}"}, headers={"If-Match": tag})
        assert (changed.status, changed.headers["Content-Encoding"]) == (200, coding)
        late = await alice.call("PATCH", address, json={"title": "late"}, headers={"If-Match": tag})
        assert late.status == 412
        tag = changed.headers["ETag"]


async def test_the_tag_of_a_list_works_in_apache_and_as_since(apache: tuple[str, str], caller: MakeCaller) -> None:
    url, coding = apache
    alice = await caller(url, coding=coding)
    await create(alice)
    tag = (await alice.call("GET", "api/tasks")).headers["ETag"]
    assert tag.endswith(f'-{coding}"')
    known = await alice.call("GET", "api/tasks", headers={"If-None-Match": tag})
    assert (known.status, known.headers["ETag"]) == (304, tag)
    plain = await caller(url, coding="identity")
    for since in (tag.strip('"'), tag.strip('"').removesuffix(f"-{coding}")):
        changes = await plain.call("GET", f"api/tasks/changes?since={since}", headers=alice.session.headers)
        assert changes.status == 200


async def test_a_weak_tag_of_nginx_works_in_reads_and_the_revision_in_writes(nginx: str, caller: MakeCaller) -> None:
    alice = await caller(nginx)
    address = await create(alice)
    read = await alice.call("GET", address)
    assert (read.headers["ETag"], read.headers["Content-Encoding"]) == ('W/"1"', "gzip")
    for tag in ('W/"1"', '"1"'):
        known = await alice.call("GET", address, headers={"If-None-Match": tag})
        assert (known.status, known.headers["ETag"]) == (304, tag)

    refused = await alice.call("PATCH", address, json={"title": "x"}, headers={"If-Match": 'W/"1"'})
    assert (refused.status, refused.headers["ETag"]) == (412, '"1"')
    revision = json.loads(gzip.decompress(await read.read()))["revision"]
    changed = await alice.call("PATCH", address, json={"title": "x"}, headers={"If-Match": f'"{revision}"'})
    assert changed.status == 200


async def test_what_the_service_has_compressed_passes_unchanged(
    nginx: str, apache: tuple[str, str], deployed: str, caller: MakeCaller, user_with: MakeUser
) -> None:
    user = await user_with(200, "Two bottles")
    for address in ("api/tasks", "api/export"):
        direct, *others = [
            await (await caller(url, user)).call("GET", address) for url in (f"{deployed}/", nginx, apache[0])
        ]
        for response in others:
            assert response.headers.getall("Content-Encoding") == ["gzip"]
            assert await response.read() == await direct.read()
            assert response.headers.get("ETag") == direct.headers.get("ETag")


async def test_a_head_request_gets_a_tag_that_works(nginx: str, apache: tuple[str, str], caller: MakeCaller) -> None:
    for url, coding in ((nginx, "gzip"), apache):
        alice = await caller(url, coding=coding)
        address = await create(alice)
        tag = (await alice.call("HEAD", address)).headers["ETag"]
        assert (await alice.call("GET", address, headers={"If-None-Match": tag})).status == 304
