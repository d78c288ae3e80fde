"""What a person reads: steps on standard output, complaints on standard error.

A command whose result is for another program has standard output for that alone, and its steps on standard error.
What a person reads is lost when nobody reads it any more, and that is no reason to stop.
"""

import os
import sys
from contextlib import suppress
from time import monotonic
from typing import TextIO

from adapters.telemetry.lines import Lines

END_SECONDS = 1.0
"""Longest wait at the end of a service for who reads what it has said last."""


def never_wait() -> None:
    """From now on, wait for no reader: a service serves on while its terminal or its log stands still."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, Lines(getattr(sys, name)))


def report(line: str) -> None:
    """Say in a line what is done."""
    _say(line, sys.stdout)


def complain(line: str) -> None:
    """Say in a line what went wrong."""
    _say(line, sys.stderr)


def remark(line: str) -> None:
    """Say in a line what is done, where standard output is for the result alone."""
    _say(line, sys.stderr)


def hand_over(result: str) -> None:
    """Write a result as it is, and nothing else, to standard output. Raises OSError when nobody takes it."""
    os.write(sys.stdout.fileno(), f"{result}\n".encode())


def let_go() -> None:
    """Forget what nobody reads any more: Python would try again at its end, and exit with status 120."""
    due = monotonic() + END_SECONDS
    for name in ("stdout", "stderr"):
        if isinstance(lines := getattr(sys, name), Lines):
            lines.end(max(0.0, due - monotonic()))
            setattr(sys, name, lines.stream)
        try:
            getattr(sys, name).flush()
        except (AttributeError, OSError, ValueError):  # there is none, it is broken, or closed
            setattr(sys, name, None)


def _say(line: str, stream: TextIO | None) -> None:
    with suppress(OSError, ValueError):  # broken, or closed
        if stream is not None:
            stream.write(f"hexapost: {line}\n")
            stream.flush()
