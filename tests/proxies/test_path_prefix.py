"""Proxies that serve the API below a path, and remove the path: the references of responses lead back through them."""

from collections.abc import Iterator

import pytest

from tests.proxies.conftest import MakeCaller
from tests.support.reverse_proxies import SERVERS, run_recommended

pytestmark = pytest.mark.xdist_group("proxies")

PATHS = ("/todo/", "/apps/to-do/v1/")


@pytest.fixture(scope="module", params=[(server, path) for server in SERVERS for path in PATHS], ids=str)
def below(request: pytest.FixtureRequest, deployed: str) -> Iterator[str]:
    """The address of the API below a path."""
    server, path = request.param
    with run_recommended(server, deployed, path=path) as url:
        yield url


async def test_location_leads_to_the_new_task(below: str, caller: MakeCaller) -> None:
    alice = await caller(below)
    created = await alice.call("POST", "api/tasks", json={"title": "Buy milk"})
    address = alice.at(created.headers["Location"], created.url)
    assert str(address).startswith(f"{below}api/tasks/")
    assert await (await alice.call("GET", str(address))).json() == await created.json()


async def test_links_lead_to_each_page(below: str, caller: MakeCaller) -> None:
    alice = await caller(below)
    for title in "abcde":
        await alice.call("POST", "api/tasks", json={"title": title})
    titles = [task["title"] async for task in alice.pages("api/tasks?limit=2&sort=title")]
    assert titles == [*"abcde"]


async def test_the_root_leads_to_the_documentation(below: str, caller: MakeCaller) -> None:
    alice = await caller(below, coding="identity")
    root = await alice.call("GET", "")
    assert (root.status, str(root.url)) == (200, f"{below}docs")
    description = await (await alice.call("GET", "openapi.json")).json()
    [server] = description["servers"]
    [path, *_] = [path for path in description["paths"] if path.endswith("/tasks")]
    api = f"{alice.at(server['url'], alice.at('openapi.json'))}".rstrip("/") + path  # OpenAPI 3.1, section 4.8.5
    assert (await alice.call("GET", api)).status == 200


async def test_other_paths_of_the_host_do_not_lead_to_the_service(below: str, caller: MakeCaller) -> None:
    alice = await caller(below)
    assert (await alice.call("GET", "problems")).status == 200
    assert (await alice.call("GET", "/api/tasks")).status == 404
    assert (await alice.call("GET", "metrics")).status in {403, 404}
