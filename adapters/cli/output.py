"""What a person reads: steps on standard output, complaints on standard error."""

import sys


def report(line: str) -> None:
    """Say in a line what is done."""
    print(f"hexapost: {line}", flush=True)  # noqa: T201 - this is the command line


def complain(line: str) -> None:
    """Say in a line what went wrong."""
    print(f"hexapost: {line}", file=sys.stderr, flush=True)  # noqa: T201 - this is the command line
