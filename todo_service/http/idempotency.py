"""Idempotent creation of tasks: the id that follows from an Idempotency-Key, and the fingerprint of a payload."""

import json
from collections.abc import Mapping
from hashlib import blake2b
from uuid import UUID, uuid5

IDEMPOTENCY_NAMESPACE = UUID("7d0b1a34-6a86-4c0e-9c53-1f7f0f9f7e62")


def derive_task_id(user_id: str, key: str) -> UUID:
    """The id of the task that this user creates with this key (RFC 9562, section 5.5)."""
    return uuid5(uuid5(IDEMPOTENCY_NAMESPACE, user_id), key)


def fingerprint(payload: Mapping[str, object]) -> bytes:
    """A digest of a validated payload. It leaves out members that are None, so that a later release can add members."""
    members = {name: value for name, value in payload.items() if value is not None}
    return blake2b(json.dumps(members, sort_keys=True).encode(), digest_size=16).digest()
