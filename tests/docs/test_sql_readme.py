"""sql/README.md: the recipe shows the plan of a statement."""

import pytest

from tests.support.pages import ROOT, page
from tests.support.postgres_servers import run_program


@pytest.mark.database
def test_the_recipe_in_psql_shows_the_generic_plan(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    [recipe] = page("sql/README.md").blocks("sql")
    options = ["--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1"]
    plan = run_program("psql", *options, f"--dbname={database_url}", stdin=recipe)
    assert "user_id = $1" in plan  # a custom plan would have 'alice'
    assert "Execution Time" in plan
