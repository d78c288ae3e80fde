"""The words of the command line: which commands there are, and what can be said to each."""

import argparse
from pathlib import Path
from typing import NoReturn

from adapters.cli.values import a_duration, a_moment, a_scope, an_id, an_id_or_key
from domain.keys import Scope


class Parser(argparse.ArgumentParser):
    """A parser that complains in a line, as all else does."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end with the status of a misuse."""
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """Return what reads the command line: `module` is the module of the command, `action` what it is to do there."""
    whole = Parser(
        prog="hexapost", description="Users and posts over REST. Settings come from the environment; see README.md."
    )
    commands = whole.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help_: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=help_, description=help_)
        subparser.set_defaults(module=f"adapters.cli.{name.replace('-', '_')}")
        return subparser

    _serve(add("serve", "serve the API"))
    _migrate(add("migrate", "bring the database's schema to this release's"))
    _embedded(add("check", "tell whether the settings are sound and the database is ready"))
    _keys(add("keys", "create, list, rotate and revoke API keys"))
    _embedded(add("purge", "remove what has expired, as the service does from time to time"))
    _with_database(add("with-database", "run a command with DATABASE_URL set"))
    _worker(commands.add_parser("worker"))
    _openapi(add("openapi", "print the OpenAPI document, or compare it with a file"))
    return whole


def _embedded(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--embedded",
        action="store_true",
        help="without DATABASE_URL, use a PostgreSQL of our own in the state directory",
    )


def _migrate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--phase",
        choices=("expand", "contract"),
        default="expand",
        help="contract also removes what older releases need, when none of them runs any more (default expand)",
    )
    _embedded(parser)


def _serve(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on, instead of HEXAPOST_HOST")
    parser.add_argument("--port", help="port to listen on, instead of HEXAPOST_PORT")
    parser.add_argument("--workers", help="processes that serve, instead of HEXAPOST_WORKERS")
    parser.add_argument("--migrate", action="store_true", help="apply missing migrations first")
    parser.add_argument(
        "--admin-key",
        action="store_true",
        help="on the embedded database, have a key that may do everything in the state directory; say how to use it",
    )
    parser.add_argument(
        "--with-parent", type=int, metavar="PID", help="stop when the process that started this one ends (Linux)"
    )
    _embedded(parser)


def _worker(parser: argparse.ArgumentParser) -> None:
    """Of a command that is in no list: its words are the supervisor's."""
    parser.set_defaults(module="adapters.cli.worker")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--line", type=int, required=True)
    parser.add_argument("--listen", type=int, action="append", required=True)


def _keys(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def add(name: str, help_: str) -> argparse.ArgumentParser:
        subparser = actions.add_parser(name, help=help_, description=help_)
        subparser.set_defaults(action=name)
        return subparser

    _keys_create(add("create", "make a key and print it, this once, alone on standard output"))
    _embedded(add("list", "print every key, newest first, as a table"))
    revoke = add("revoke", "have a key open nothing any more")
    revoke.add_argument(
        "id", type=an_id_or_key, metavar="ID", help="its id, or the whole key, if that is what you have"
    )
    _embedded(revoke)
    rotate = add("rotate", "make a key that can do what this one can, print it, and have this one end")
    rotate.add_argument("id", type=an_id, metavar="ID", help="its id")
    rotate.add_argument(
        "--overlap",
        type=a_duration,
        default="24h",
        metavar="TIME",
        help="how long both are live, such as 0s (default 24h)",
    )
    _embedded(rotate)


def _keys_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", required=True, help="what it is for, in a line")
    parser.add_argument(
        "--scope",
        type=a_scope,
        action="append",
        required=True,
        dest="scopes",
        metavar="SCOPE",
        help=f"what it allows, of {', '.join(Scope)}; may be repeated",
    )
    parser.add_argument("--user-id", type=an_id, metavar="ID", help="the user to whom it is bound")
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--expires-in", type=a_duration, metavar="TIME", help="how long it lasts, such as 90d or 12h")
    end.add_argument("--expires-at", type=a_moment, metavar="TIME", help="when it ends, such as 2030-01-31T12:00:00Z")
    _embedded(parser)


def _with_database(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")
    _embedded(parser)


def _openapi(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", type=Path, metavar="FILE", help="fail when the file does not hold the document")
    what.add_argument("--write", type=Path, metavar="FILE", help="write the document to the file")
