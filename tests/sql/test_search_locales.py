"""Search in databases whose locale has its own rules for upper and lower case."""

import json

import asyncpg
import pytest

from tests.support.postgres_servers import CreateDatabase
from todo_service.database import migrate, read_statement

pytestmark = pytest.mark.database

LIST = read_statement("tasks/list_tasks_by_title_asc").text
TITLES = ["Café BIG", "TITLE é", "ÇIKIŞ", "Café in WIEN", "BIG", "İZMIR"]


@pytest.mark.parametrize("locale", ["tr", "en"])
async def test_a_title_and_each_of_its_words_find_the_title(
    create_database: CreateDatabase, connection: asyncpg.Connection, locale: str
) -> None:
    if not await connection.fetchval("SELECT count(*) FROM pg_collation WHERE collname = 'tr-x-icu'"):
        pytest.skip("this PostgreSQL has no ICU")
    url = await create_database(f"ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE '{locale}' TEMPLATE template0")
    await migrate(url, lambda _line: None)
    database = await asyncpg.connect(url)
    await database.execute("INSERT INTO users (id, revision) VALUES ('u', 1)")
    await database.executemany(
        "INSERT INTO tasks (user_id, title, revision) VALUES ('u', $1, 1)", [(title,) for title in TITLES]
    )
    for title in TITLES:
        for text in (title, *title.split(), "IKI" if title == "ÇIKIŞ" else title[1:]):
            row = await database.fetchrow(LIST, "u", None, 10, None, None, None, None, None, None, text)
            assert row
            assert title in [task["title"] for task in json.loads(row["body"])], text
    await database.close()
