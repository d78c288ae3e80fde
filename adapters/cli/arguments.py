"""The arguments of all commands. Error messages never repeat a value, because it may be a key."""

import argparse
import re
from argparse import REMAINDER, ArgumentTypeError
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn
from uuid import UUID

from domain.api_keys import Scope

MAX_DURATION = timedelta(days=36_525)

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_DURATION = re.compile(r"([0-9]{1,10})([smhdw])", re.ASCII)
# RFC 3339 section 5.6
_DATETIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.ASCII)
_ID = re.compile(r"[0-9a-f]{8}(-?)[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{4}\1[0-9a-f]{12}", re.IGNORECASE | re.ASCII)
# A leaked key can be truncated or redacted after its ID.
_KEY = re.compile(r"hexa_([0-9a-f]{32})(_\S*)?", re.ASCII)


class UsageError(Exception):
    """The arguments of a command are invalid."""


class OneLineErrorParser(argparse.ArgumentParser):
    """A parser that prints errors in one line."""

    def error(self, message: str) -> NoReturn:
        """Print the error, and exit with status 2."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Return the parser. It sets `run` to the import path of the command, and `action` to its subcommand."""
    root = OneLineErrorParser(
        prog="hexapost", description="Users and posts over REST. Settings come from the environment; see README.md."
    )
    add = root.add_subparsers(required=True, metavar="COMMAND").add_parser
    _serve(_command(add, "serve", "serve the API", run="serve:run"))
    _migrate(_command(add, "migrate", "apply pending migrations", run="migrate:run"))
    _embedded(_command(add, "check", "check the settings and the readiness of the database", run="maintenance:check"))
    _keys(_command(add, "keys", "create, list, rotate and revoke API keys", run="keys:run"))
    _embedded(_command(add, "purge", "delete expired records, as the service does regularly", run="maintenance:purge"))
    with_database = _command(add, "with-database", "run a command with DATABASE_URL set", run="database:run_command")
    with_database.add_argument("command", nargs=REMAINDER, metavar="COMMAND", help="the command and its arguments")
    _embedded(with_database)
    _worker(add("worker"))
    openapi = _command(add, "openapi", "print the OpenAPI document, or compare it with a file", run="openapi:run")
    action = openapi.add_mutually_exclusive_group()
    action.add_argument("--check", type=Path, metavar="FILE", help="fail if the file differs from the document")
    action.add_argument("--write", type=Path, metavar="FILE", help="write the document to the file")
    return root


def parse_scope(text: str) -> Scope:
    """Return the scope with this name."""
    try:
        return Scope(text)
    except ValueError:
        raise ArgumentTypeError(f"unknown scope; valid scopes: {', '.join(Scope)}") from None


def parse_duration(text: str) -> timedelta:
    """Return a duration such as `90d` or `12h`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ArgumentTypeError("must be an integer and a unit (s, m, h, d or w), such as 90d or 12h")
    try:
        duration = timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        duration = timedelta.max
    if duration > MAX_DURATION:
        raise ArgumentTypeError("must be at most 100 years")
    return duration


def parse_datetime(text: str) -> datetime:
    """Return a time in UTC."""
    try:
        if _DATETIME.fullmatch(text.upper()):
            return datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        pass  # such as February 30
    raise ArgumentTypeError("must be an RFC 3339 time, such as 2030-01-31T12:00:00Z")


def parse_id(text: str) -> UUID:
    """Return an ID, with or without dashes."""
    if _ID.fullmatch(text) is None:
        raise ArgumentTypeError("must be an ID, such as 0193e0b8-7f6a-7c3d-9b1e-2f4a6c8d0e1f")
    return UUID(text)


def parse_id_or_key(text: str) -> UUID:
    """Return an ID, or the ID in an API key."""
    found = _KEY.fullmatch(text.strip())
    return parse_id(found[1] if found else text.strip())


def _command(
    add_parser: Callable[..., argparse.ArgumentParser], name: str, help_: str, *, run: str
) -> argparse.ArgumentParser:
    parser = add_parser(name, help=help_, description=help_)
    parser.set_defaults(run=f"adapters.cli.{run}")
    return parser


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
    parser.set_defaults(run="adapters.server.worker:run")
    parser.add_argument("--parent-pid", type=int, required=True)
    parser.add_argument("--control-fd", type=int, required=True)
    parser.add_argument("--listen-fd", type=int, action="append", required=True)


def _keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION", dest="action")

    def add(name: str, help_: str) -> argparse.ArgumentParser:
        return actions.add_parser(name, help=help_, description=help_)

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
