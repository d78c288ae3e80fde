"""The command line: what is run, and what a user reads when it cannot be done."""

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType

from adapters.cli.errors import MisusedError, NotReadyError
from adapters.cli.output import complain, let_go
from adapters.cli.words import parser
from adapters.embedded import EmbeddedPostgresError
from adapters.settings import Settings, SettingsError, load_settings, variable
from application.ports import TransientError

FAILED = 1
MISUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status: 0 done, 1 failed, 2 asked for in the wrong way."""
    try:
        return _status(arguments)
    finally:
        let_go()


def _status(arguments: Sequence[str] | None) -> int:
    options = parser().parse_args(arguments)
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
    except MisusedError as error:
        complain(str(error))
        return MISUSED
    except (EmbeddedPostgresError, NotReadyError, TransientError, OSError) as error:
        complain(str(error) or "the database cannot be reached")
        return FAILED
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _overrides(options: argparse.Namespace) -> dict[str, str]:
    """Return what the words of the command say instead of a variable."""
    said = {name: getattr(options, name, None) for name in ("host", "port", "workers")}
    return {variable(name): value for name, value in said.items() if value is not None}


def _end(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the form of a signal handler
    # As an exception, so that what was started is stopped on the way out.
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
