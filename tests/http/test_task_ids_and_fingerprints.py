"""The task ids that are derived from a user and an Idempotency-Key, and the fingerprints of payloads."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.support.idempotency import KEY
from tests.support.members import CREATED
from todo_service.http.idempotency import derive_task_id, fingerprint
from todo_service.http.schemas import NewTaskSchema

USERS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=255)
KEYS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=255)
VALUES = st.sampled_from([None, "", "a", "b", '"', "é"])
PAYLOADS = st.fixed_dictionaries({}, optional=dict.fromkeys(CREATED, VALUES))


def given_members(payload: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in payload.items() if value is not None}


@given(st.lists(st.tuples(USERS, KEYS), unique=True))
def test_different_users_or_keys_have_different_task_ids(senders: list[tuple[str, str]]) -> None:
    ids = {derive_task_id(user_id, key) for user_id, key in senders}

    assert len(ids) == len(senders)
    assert all(task_id.version == 5 for task_id in ids)


@given(KEYS.filter(lambda text: len(text) > 2))
def test_user_id_and_key_are_not_just_concatenated(text: str) -> None:
    cuts = range(1, len(text))

    assert len({derive_task_id(text[:cut], text[cut:]) for cut in cuts}) == len(cuts)


@given(PAYLOADS, PAYLOADS)
def test_fingerprints_compare_the_members_that_are_not_null(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (fingerprint(one) == fingerprint(other)) is (given_members(one) == given_members(other))


@given(PAYLOADS.flatmap(lambda payload: st.tuples(st.just(payload), st.permutations(list(payload.items())))))
def test_a_fingerprint_ignores_the_order_of_members(payloads: tuple[dict[str, Any], list[tuple[str, Any]]]) -> None:
    payload, members = payloads

    assert fingerprint(dict(members)) == fingerprint(payload)


def test_task_ids_and_fingerprints_are_the_same_in_every_release() -> None:
    """Members that a later release adds are None here: an older client doesn't send them."""
    payload = NewTaskSchema().load({"title": "Café", "priority": "high", "due_date": "2026-12-31T15:00:00Z"})

    assert str(derive_task_id("zoë", KEY)) == "bfcd3902-ad2c-53d1-86f9-f985b81dd5ff"
    assert fingerprint(payload).hex() == "65ee2b8a13858d0ce168ad72ec1fe691"
