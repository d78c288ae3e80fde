"""What a person reads: steps on standard output, complaints on standard error.

A command whose result is for another program has standard output for that alone, and its steps on standard error.
"""

import os
import sys


def report(line: str) -> None:
    """Say in a line what is done."""
    print(f"hexapost: {line}", flush=True)  # noqa: T201 - this is the command line


def complain(line: str) -> None:
    """Say in a line what went wrong."""
    print(f"hexapost: {line}", file=sys.stderr, flush=True)  # noqa: T201 - this is the command line


def remark(line: str) -> None:
    """Say in a line what is done, where standard output is for the result alone."""
    print(f"hexapost: {line}", file=sys.stderr, flush=True)  # noqa: T201 - this is the command line


def hand_over(result: str) -> None:
    """Write a result as it is, and nothing else, to standard output. Raises OSError when nobody takes it."""
    os.write(sys.stdout.fileno(), f"{result}\n".encode())
