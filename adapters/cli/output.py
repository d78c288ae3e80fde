"""Console output: status on standard output, errors on standard error.

If standard output is the result for a different program, status goes to standard error too. Output errors on a closed
terminal are ignored.
"""

import os
import sys
from contextlib import suppress
from time import monotonic
from typing import TextIO

from adapters.telemetry.lines import Lines

END_SECONDS = 1.0
"""The time limit for writing the remaining output at exit."""


def never_wait() -> None:
    """Make both streams non-blocking, so that a stalled terminal or log does not stop the service."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, Lines(getattr(sys, name)))


def report(line: str) -> None:
    """Print a status line to standard output."""
    _say(line, sys.stdout)


def complain(line: str) -> None:
    """Print an error line to standard error."""
    _say(line, sys.stderr)


def remark(line: str) -> None:
    """Print a status line to standard error, because standard output is the result."""
    _say(line, sys.stderr)


def hand_over(result: str) -> None:
    """Write a result to standard output. Raises OSError if it cannot be written."""
    os.write(sys.stdout.fileno(), f"{result}\n".encode())


def let_go() -> None:
    """Discard unwritten output. Otherwise Python tries to write it at exit, and fails with status 120."""
    due = monotonic() + END_SECONDS
    for name in ("stdout", "stderr"):
        if isinstance(lines := getattr(sys, name), Lines):
            lines.end(max(0.0, due - monotonic()))
            setattr(sys, name, lines.stream)
        try:
            getattr(sys, name).flush()
        except (AttributeError, OSError, ValueError):  # absent, broken or closed
            setattr(sys, name, None)


def _say(line: str, stream: TextIO | None) -> None:
    with suppress(OSError, ValueError):  # broken or closed
        if stream is not None:
            stream.write(f"hexapost: {line}\n")
            stream.flush()
