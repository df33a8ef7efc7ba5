"""What we ask of PostgreSQL for each session; or through a pooler, which takes no settings, for each transaction."""

from todo_service.database.connecting import SERVER_TCP_OPTIONS
from todo_service.settings import Settings


def server_settings(settings: Settings, lock_timeout: str) -> dict[str, str]:
    """What a connection is opened with."""
    names = {"application_name": "todo-service"}
    if settings.database_statement_cache == 0:
        return names  # a pooler in between refuses the others
    return names | session_settings(settings, lock_timeout) | SERVER_TCP_OPTIONS


def begin(settings: Settings, lock_timeout: str) -> str | None:
    """Begins a transaction with these settings, in one round trip; None when the session has them."""
    if settings.database_statement_cache:
        return None
    values = session_settings(settings, lock_timeout) | {
        # The pooler may not notice that we are gone, and would keep what is locked.
        "idle_in_transaction_session_timeout": f"{settings.database_timeout}s",
    }
    return "; ".join(["BEGIN", *(f"SET LOCAL {name} = '{value}'" for name, value in values.items())])


def session_settings(settings: Settings, lock_timeout: str) -> dict[str, str]:
    return {
        "plan_cache_mode": "force_generic_plan",
        "lock_timeout": lock_timeout,
        # Of each call alone: before our own timeout, after which nobody knows what became of a write.
        "statement_timeout": f"{settings.database_timeout * 900}ms",
        "jit": "off",
    }
