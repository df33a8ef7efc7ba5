"""The package observability: only app.py and the package server import it."""

from pathlib import Path

import todo_service


def test_only_app_runner_and_gunicorn_config_import_observability() -> None:
    package = Path(todo_service.__file__).parent
    files = [path for path in package.rglob("*.py") if "observability" not in path.parent.name]
    importers = {path.name for path in files if "todo_service.observability" in path.read_text()}
    assert importers == {"app.py", "gunicorn_config.py", "runner.py"}
