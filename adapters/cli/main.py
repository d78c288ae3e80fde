"""The `hexapost` command: runs a subcommand and prints its errors."""

import argparse
import pkgutil
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from adapters.cli.arguments import UsageError, build_parser
from adapters.cli.console import discard_unwritten_output, print_error
from adapters.cli.database import DatabaseNotReadyError
from adapters.embedded import EmbeddedPostgresError
from adapters.settings import Settings, SettingsError, load_settings
from application.ports import TransientStorageError

FAILED = 1
USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 for success, 1 for failure, 2 for a usage error."""
    try:
        return _run_command(arguments)
    finally:
        discard_unwritten_output()


def _run_command(arguments: Sequence[str] | None) -> int:
    options = build_parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        settings = load_settings(**_overrides(options))
        # Imported late, because the libraries of the other commands take a second to load.
        run: Callable[[Settings, argparse.Namespace], int] = pkgutil.resolve_name(options.run)
        return run(settings, options)
    except (SettingsError, UsageError) as error:
        for line in str(error).splitlines():
            print_error(line)
        return USAGE_ERROR
    except (EmbeddedPostgresError, DatabaseNotReadyError, TransientStorageError, OSError) as error:
        print_error(str(error) or "cannot connect to PostgreSQL. Check DATABASE_URL and the network.")
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _overrides(options: argparse.Namespace) -> dict[str, str]:
    """Return the settings that arguments override."""
    given = {name: getattr(options, name, None) for name in ("host", "port", "workers")}
    return {name: value for name, value in given.items() if value is not None}


def _exit_on_signal(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    # An exception, so that context managers stop child processes.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
