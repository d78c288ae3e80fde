"""Console output: status on standard output, errors on standard error.

If standard output is the result for a different program, status goes to standard error too. Output errors on a closed
terminal are ignored.
"""

import os
import sys
from contextlib import suppress
from typing import TextIO


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


def _write_line(line: str, stream: TextIO | None) -> None:
    with suppress(OSError, ValueError):  # broken or closed
        if stream is not None:
            stream.write(f"hexapost: {line}\n")
            stream.flush()
