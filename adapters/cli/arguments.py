"""The arguments of all commands."""

import argparse
from pathlib import Path
from typing import NoReturn

from adapters.cli.argument_types import parse_datetime, parse_duration, parse_id, parse_id_or_key, parse_scope
from domain.api_keys import Scope


class OneLineErrorParser(argparse.ArgumentParser):
    """A parser that prints errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser. It sets `module` to the module of the command, and `action` to its subcommand."""
    root = OneLineErrorParser(
        prog="hexapost", description="Users and posts over REST. Settings come from the environment; see README.md."
    )
    commands = root.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help_: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=help_, description=help_)
        subparser.set_defaults(module=f"adapters.cli.{name.replace('-', '_')}")
        return subparser

    _serve(add("serve", "serve the API"))
    _migrate(add("migrate", "apply pending migrations"))
    _embedded(add("check", "check the settings and the readiness of the database"))
    _keys(add("keys", "create, list, rotate and revoke API keys"))
    _embedded(add("purge", "delete expired records, as the service does regularly"))
    _with_database(add("with-database", "run a command with DATABASE_URL set"))
    _worker(commands.add_parser("worker"))
    _openapi(add("openapi", "print the OpenAPI document, or compare it with a file"))
    return root


def _embedded(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--embedded",
        action="store_true",
        help="without DATABASE_URL, start a local PostgreSQL in the state directory",
    )


def _migrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--phase",
        choices=("expand", "contract"),
        default="expand",
        help="contract also removes columns and tables that only older releases need (default: expand)",
    )
    _embedded(parser)


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on, overrides HEXAPOST_HOST")
    parser.add_argument("--port", help="port to listen on, overrides HEXAPOST_PORT")
    parser.add_argument("--workers", help="number of worker processes, overrides HEXAPOST_WORKERS")
    parser.add_argument("--migrate", action="store_true", help="apply pending migrations first")
    parser.add_argument(
        "--create-admin-key",
        action="store_true",
        help="with the embedded database: create an API key with all scopes in the state directory and print a sample "
        "request",
    )
    parser.add_argument("--exit-with-parent", type=int, metavar="PID", help="stop when the parent process ends (Linux)")
    _embedded(parser)


def _worker(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of an internal command, which is not listed."""
    parser.set_defaults(module="adapters.server.worker")
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, action="append", required=True)


def _keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, help_: str) -> argparse.ArgumentParser:
        subparser = actions.add_parser(name, help=help_, description=help_)
        subparser.set_defaults(action=name)
        return subparser

    _keys_create(add("create", "create an API key and print it; it is not shown again"))
    _embedded(add("list", "print all API keys as a table, newest first"))
    revoke = add("revoke", "revoke an API key")
    revoke.add_argument("id", type=parse_id_or_key, metavar="ID", help="ID of the key, or the key itself")
    _embedded(revoke)
    rotate = add("rotate", "create a replacement for an API key, print it, and let the old key expire")
    rotate.add_argument("id", type=parse_id, metavar="ID", help="ID of the key")
    rotate.add_argument(
        "--overlap",
        type=parse_duration,
        default="24h",
        metavar="TIME",
        help="how long the old key stays valid, such as 0s (default: 24h)",
    )
    _embedded(rotate)


def _keys_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="label of the key, in one line")
    parser.add_argument(
        "--scope",
        type=parse_scope,
        action="append",
        required=True,
        dest="scopes",
        metavar="SCOPE",
        help=f"scope to grant: {', '.join(Scope)}; can be repeated",
    )
    parser.add_argument("--user-id", type=parse_id, metavar="ID", help="ID of the user to which the key is bound")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--expires-in", type=parse_duration, metavar="TIME", help="lifetime, such as 90d or 12h")
    end.add_argument("--expires-at", type=parse_datetime, metavar="TIME", help="expiry, such as 2030-01-31T12:00:00Z")
    _embedded(parser)


def _with_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")
    _embedded(parser)


def _openapi(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", type=Path, metavar="FILE", help="fail if the file differs from the document")
    what.add_argument("--write", type=Path, metavar="FILE", help="write the document to the file")
