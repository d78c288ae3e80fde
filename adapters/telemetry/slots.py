"""Which files in the shared directory are whose.

Each process has a number to itself, by a lock that the kernel releases however the process ends. The next one takes
over the lowest number that is free, and goes on counting in its files: so there are no more of them than processes
that lived at once, and nothing that was counted is lost or counted twice.
"""

import fcntl
import os
from contextlib import suppress
from itertools import count
from pathlib import Path

from prometheus_client import multiprocess


def taken_slot(directory: Path) -> int:
    """Return a number that no other process has for as long as this one lives."""
    # The descriptor of the lock stays open until then.
    number = next(number for number in count() if _try_lock(directory / f"{number}.lock") is not None)
    forget(directory, number)
    return number


def forget(directory: Path, number: int | str) -> None:
    """Remove the state of the process that has, or had, this number; what it counted stays."""
    multiprocess.mark_process_dead(number, directory)  # type: ignore[no-untyped-call]


def forget_the_dead(directory: Path) -> None:
    """Remove the state of processes that ended without a word."""
    for path in directory.glob("*.lock"):
        descriptor = _try_lock(path)
        if descriptor is None:
            with suppress(OSError):
                os.utime(path)  # what looks old to a cleaner of temporary files is in use
            continue
        try:  # nobody takes the number over meanwhile
            forget(directory, path.stem)
        finally:
            os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    """Return the descriptor that holds the lock, None when another process holds it or it is of another account."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError:
        if path.exists():
            return None
        raise
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
