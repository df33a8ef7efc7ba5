"""The command line: serve, migrate, token and openapi."""

import argparse
import asyncio
import sys
from collections.abc import Sequence

from todo_service import __version__
from todo_service.app import description
from todo_service.auth import sign_token
from todo_service.database import MigrationError, migrate
from todo_service.embedded import DATA, EmbeddedError, read_secret, serve_embedded
from todo_service.server.command import serve
from todo_service.settings import SettingsError, names_in_environment, read_settings

ENVIRONMENT = """\
Settings are environment variables; docs/configuration.md lists them. You can try the service without any settings:

  todo-service serve --embedded              serve the API with an embedded PostgreSQL, for this machine only
  todo-service token --embedded --user bob   print a token for the user bob

To deploy it, set DATABASE_URL and JWT_SECRET (or JWT_JWKS_URL), then run:

  todo-service migrate
  todo-service serve
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command. Returns the exit status: 0, or 1 after an error. Prints the error to stderr as a sentence."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.command(options)
    except (SettingsError, MigrationError, EmbeddedError) as error:
        print(f"todo-service: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="todo-service",
        description="A multi-user to-do REST service on PostgreSQL.",
        epilog=ENVIRONMENT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"todo-service {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    command = commands.add_parser("serve", help="serve the API", description="Serves the API until SIGTERM.")
    command.add_argument(
        "--embedded",
        action="store_true",
        help="first start an embedded PostgreSQL, with its data in .todo-service/, and migrate it",
    )
    command.set_defaults(command=_serve)

    command = commands.add_parser(
        "migrate", help="bring the database up to date", description="Applies the migrations that the database lacks."
    )
    command.set_defaults(command=_migrate)

    command = commands.add_parser(
        "token", help="print a token for a user", description="Prints a token, signed with JWT_SECRET (HS256)."
    )
    command.add_argument("--user", required=True, metavar="ID", help="the user's id, which becomes the token's `sub`")
    command.add_argument("--days", type=int, default=30, metavar="N", help="days until the token expires (default: 30)")
    command.add_argument(
        "--embedded", action="store_true", help="sign with the secret that `serve --embedded` keeps in .todo-service/"
    )
    command.set_defaults(command=_token)

    command = commands.add_parser(
        "openapi",
        help="print the description of the API",
        description="Prints the description of the API (OpenAPI 3.1, JSON), the same as GET /openapi.json.",
    )
    command.set_defaults(command=_openapi)
    return parser


def _serve(options: argparse.Namespace) -> int:
    return serve_embedded() if options.embedded else serve(read_settings())


def _migrate(_options: argparse.Namespace) -> int:
    # A wrong setting makes the release phase fail, while the old release still serves. Settings may be missing: a
    # migration job of its own needs only DATABASE_URL.
    settings = read_settings("database_url", *names_in_environment(), direct=True)
    asyncio.run(migrate(settings.database_url, lambda line: print(line, flush=True)))
    return 0


def _token(options: argparse.Namespace) -> int:
    names = ["jwt_secret", "jwt_issuer", "jwt_audience"]
    settings = read_settings(*names, *([] if options.embedded else ["jwt_jwks_url"]))
    if settings.jwt_jwks_url:
        raise SettingsError("This command signs with JWT_SECRET only. With JWT_JWKS_URL, the issuer makes the tokens.")
    secret = settings.jwt_secret or read_secret(DATA)
    try:
        token = sign_token(
            secret, options.user, options.days, issuer=settings.jwt_issuer, audience=settings.jwt_audience
        )
    except ValueError as error:
        raise SettingsError(str(error)) from None
    print(token)
    return 0


def _openapi(_options: argparse.Namespace) -> int:
    print(description().decode(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
