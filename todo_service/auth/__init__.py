"""Authentication: verifies bearer tokens, and attaches the `user_id` that every query filters on."""

from todo_service.auth.middleware import USER_ID, authenticate, verifier_context
from todo_service.auth.tokens import sign_token

__all__ = [
    "USER_ID",
    "authenticate",
    "sign_token",
    "verifier_context",
]
