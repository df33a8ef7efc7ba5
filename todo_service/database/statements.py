"""Finds and reads sql/: one statement per file, named by its path."""

import re
from dataclasses import dataclass
from pathlib import Path

PACKAGED = Path(__file__).parents[1] / "sql"  # in a wheel
CHECKOUT = Path(__file__).parents[2] / "sql"  # in a checkout, and in an editable installation
SQL = PACKAGED if PACKAGED.is_dir() else CHECKOUT


@dataclass(frozen=True, eq=False)
class Statement:
    """The text of sql/<name>.sql, which is sent to PostgreSQL unchanged."""

    name: str
    text: str
    writes: bool
    """Whether the statement may change data. If so, it must not be repeated while its outcome is unknown."""
    unbatched: bool = False
    """Whether the statement may take so long that no other call should share its round trip."""


def read_statement(name: str, *, unbatched: bool = False) -> Statement:
    """The statement of a file: `tasks/get_task` is sql/tasks/get_task.sql. Raises FileNotFoundError."""
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    code = re.sub("--.*", "", text)
    return Statement(name, text, writes=re.search(r"\b(INSERT|UPDATE|DELETE)\b", code) is not None, unbatched=unbatched)
