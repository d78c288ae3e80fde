"""The command line: what can be said, and what a user reads when it cannot be done."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from adapters.cli.output import complain
from adapters.embedded import EmbeddedPostgresError
from adapters.settings import Settings, SettingsError, load_settings, variable
from application.ports import TransientError

FAILED = 1
MISUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 failed, 2 asked for in the wrong way."""
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        settings = load_settings(os.environ | _overrides(options))
        # Imported only now: a command that needs neither HTTP nor migrations does not wait for them.
        run: Callable[[Settings, argparse.Namespace], int] = importlib.import_module(options.module).run
        return run(settings, options)
    except SettingsError as error:
        for problem in error.problems:
            complain(problem)
        return MISUSED
    except (EmbeddedPostgresError, TransientError, OSError) as error:
        complain(str(error) or "the database cannot be reached")
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _overrides(options: argparse.Namespace) -> dict[str, str]:
    """Return what the words of the command say instead of a variable."""
    said = {name: getattr(options, name, None) for name in ("host", "port")}
    return {variable(name): value for name, value in said.items() if value is not None}


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the form of a signal handler
    # As an exception, so that what was started is stopped on the way out.
    raise SystemExit(128 + number)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hexapost", description="Users and posts over REST. Settings come from the environment; see README.md."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def add(name: str, help_: str) -> argparse.ArgumentParser:
        subparser = commands.add_parser(name, help=help_, description=help_)
        subparser.set_defaults(module=f"adapters.cli.{name.replace('-', '_')}")
        return subparser

    for subparser in (
        _serve(add("serve", "serve the API")),
        add("migrate", "bring the database's schema to this release's"),
        add("check", "tell whether the settings are sound and the database is ready"),
        _with_database(add("with-database", "run a command with DATABASE_URL set")),
    ):
        subparser.add_argument(
            "--embedded",
            action="store_true",
            help="without DATABASE_URL, use a PostgreSQL of our own in the state directory",
        )
    _openapi(add("openapi", "print the OpenAPI document, or compare it with a file"))
    return parser


def _serve(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("--host", help="address to listen on, instead of HEXAPOST_HOST")
    parser.add_argument("--port", help="port to listen on, instead of HEXAPOST_PORT")
    parser.add_argument("--migrate", action="store_true", help="apply missing migrations first")
    parser.add_argument(
        "--with-parent", type=int, metavar="PID", help="stop when the process that started this one ends (Linux)"
    )
    return parser


def _with_database(parser: argparse.ArgumentParser) -> argparse.ArgumentParser:
    parser.add_argument("words", nargs=argparse.REMAINDER, metavar="COMMAND", help="the command and its arguments")
    return parser


def _openapi(parser: argparse.ArgumentParser) -> None:
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", type=Path, metavar="FILE", help="fail when the file does not hold the document")
    what.add_argument("--write", type=Path, metavar="FILE", help="write the document to the file")


if __name__ == "__main__":
    sys.exit(main())
