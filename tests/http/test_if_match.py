"""`If-Match` (RFC 9110, section 13.1.1): a request gets 412 if none of the tags is the current tag."""

import pytest

from tests.support.api import TASKS, Api, call_with_header, case_id, path_of, tag_of
from tests.support.conditional_requests import (
    MATCHING,
    NOT_MATCHING,
    WEAKLY_MATCHING,
    WITHOUT_EFFECT,
    WRITES,
    Call,
    assert_304,
    assert_412,
    change,
)

pytestmark = pytest.mark.database


@pytest.mark.parametrize("call", WRITES, ids=case_id)
async def test_a_write_with_the_current_etag_succeeds(owner: Api, call: Call) -> None:
    method, below, body = call
    for value in MATCHING:
        task = await change(owner, await owner.create())
        sent = value.format(task["revision"])
        response = await call_with_header(owner, method, path_of(task) + below, "If-Match", sent, json=body)
        assert response.status == (204 if method == "DELETE" else 200), value
        after = await owner.get(task)
        assert after == (None if method == "DELETE" else await response.json())
        assert after is None or response.headers["ETag"] == f'"{task["revision"] + 1}"'
        assert (await tag_of(owner)).endswith(f"-{task['revision'] + 1}")


@pytest.mark.parametrize("call", WRITES, ids=case_id)
async def test_a_write_with_a_stale_etag_gets_412_and_the_current_etag(owner: Api, call: Call) -> None:
    method, below, body = call
    task = await change(owner, await owner.create())
    before = await tag_of(owner)
    for value in ['"1"', '"3"', f'"{before}"', *WEAKLY_MATCHING, *NOT_MATCHING]:
        response = await call_with_header(owner, method, path_of(task) + below, "If-Match", value.format(2), json=body)
        await assert_412(response, 2)
    assert (await owner.get(task), await tag_of(owner)) == (task, before)


@pytest.mark.parametrize("call", WITHOUT_EFFECT, ids=case_id)
async def test_an_update_without_effect_with_a_stale_etag_gets_412(owner: Api, call: Call) -> None:
    method, below, body = call
    task = await owner.create()
    await assert_412(await call_with_header(owner, method, path_of(task) + below, "If-Match", '"7"', json=body), 1)


@pytest.mark.parametrize(("value", "second"), [('"1"', 412), ('"1", "2"', 200), ("*", 200)])
async def test_a_repeated_toggle_with_a_single_etag_toggles_once(owner: Api, value: str, second: int) -> None:
    path = path_of(await owner.create()) + "/complete"
    responses = [await call_with_header(owner, "PATCH", path, "If-Match", value) for _ in range(2)]
    assert [response.status for response in responses] == [200, second]
    [task] = await owner.tasks()
    assert task["completed"] is (second == 412), "with the other conditions, the second request toggles it back"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_read_with_if_match_gets_200_or_412(owner: Api, method: str) -> None:
    task = await change(owner, await owner.create())
    for address in (path_of(task), f"{TASKS}?sort=title", TASKS):
        tag = await tag_of(owner, address)
        for value in MATCHING:
            assert (await call_with_header(owner, method, address, "If-Match", value.format(tag))).status == 200
        for value in [*WEAKLY_MATCHING, *NOT_MATCHING, '"1"']:
            await assert_412(await call_with_header(owner, method, address, "If-Match", value.format(tag)), tag)


async def test_if_match_is_evaluated_before_if_none_match(owner: Api) -> None:
    for address in (path_of(await owner.create()), TASKS):
        tag = await tag_of(owner, address)
        both = {"If-None-Match": f'"{tag}"', "If-Match": '"7"'}
        await assert_412(await owner.call("GET", address, headers=both), tag)
        await assert_304(await owner.call("GET", address, headers={**both, "If-Match": f'"{tag}"'}), tag)


async def test_a_condition_may_have_thousands_of_etags(owner: Api) -> None:
    task = await owner.create()
    others, tag = ", ".join(f'"{number}"' for number in range(10_000, 16_000)), await tag_of(owner)
    await assert_412(await call_with_header(owner, "PATCH", path_of(task), "If-Match", others, json={"title": "y"}), 1)
    await assert_304(await call_with_header(owner, "GET", TASKS, "If-None-Match", f'{others}, "{tag}"'), tag)
    response = await call_with_header(owner, "PATCH", path_of(task), "If-Match", f'{others}, "1"', json={"title": "y"})
    assert response.status == 200
