"""Console output: status on standard output, errors on standard error.

If standard output is the result for a different program, status goes to standard error too. Output errors on a closed
terminal are ignored.
"""

import os
import sys
from contextlib import suppress
from time import monotonic
from typing import TextIO

from adapters.observability.nonblocking_stream import NonBlockingStream

FLUSH_TIMEOUT_SECONDS = 1.0
"""The time limit for writing the remaining output at exit."""


def make_streams_nonblocking() -> None:
    """Make both streams non-blocking, so that a stalled terminal or log does not stop the service."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, NonBlockingStream(getattr(sys, name)))


def print_status(line: str) -> None:
    """Print a status line to standard output."""
    _write_line(line, sys.stdout)


def print_error(line: str) -> None:
    """Print an error line to standard error."""
    _write_line(line, sys.stderr)


def print_status_to_stderr(line: str) -> None:
    """Print a status line to standard error, because standard output is the result."""
    _write_line(line, sys.stderr)


def print_result(result: str) -> None:
    """Write a result to standard output. Raises OSError if it cannot be written."""
    os.write(sys.stdout.fileno(), f"{result}\n".encode())


def discard_unwritten_output() -> None:
    """Write the buffered output for at most FLUSH_TIMEOUT_SECONDS, and discard the rest.

    Otherwise Python tries to write the rest at exit, and fails with status 120.
    """
    due = monotonic() + FLUSH_TIMEOUT_SECONDS
    for name in ("stdout", "stderr"):
        if isinstance(lines := getattr(sys, name), NonBlockingStream):
            lines.close(max(0.0, due - monotonic()))
            setattr(sys, name, lines.stream)
        try:
            getattr(sys, name).flush()
        except (AttributeError, OSError, ValueError):  # absent, broken or closed
            setattr(sys, name, None)


def _write_line(line: str, stream: TextIO | None) -> None:
    with suppress(OSError, ValueError):  # broken or closed
        if stream is not None:
            stream.write(f"hexapost: {line}\n")
            stream.flush()
