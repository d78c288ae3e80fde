"""Assigns each process a slot number for its files in the Prometheus multiprocess directory.

A file lock protects the slot. The kernel releases it when the process ends. A new process takes the lowest free slot
and continues its counters. The number of files is the highest number of concurrent processes. No count is lost.
"""

import fcntl
import os
from contextlib import suppress
from itertools import count
from pathlib import Path

from prometheus_client import multiprocess, values

FILE_BYTES = {
    "counter": 1 << 20,
    "histogram": 1 << 20,
    "gauge_livesum": 1 << 16,
    "gauge_mostrecent": 1 << 16,
    "gauge_max": 1 << 16,
}
"""The sizes of the files of a slot. All routes, methods and statuses need 770 kB of counters."""


def acquire_slot(directory: Path) -> int:
    """Return a slot number that no other running process has."""
    # The descriptor of the lock stays open until the process ends.
    number = next(number for number in count() if _try_lock(directory / f"{number}.lock") is not None)
    remove_live_gauges(directory, number)
    return number


def allocate_files(directory: Path, slot: int) -> None:
    """Allocate the files of a slot. Raises OSError if the file system is full.

    prometheus_client maps sparse files into memory. If the file system is full, a write to a part that is not allocated
    ends the process with SIGBUS.
    """
    for kind, size in FILE_BYTES.items():
        path = directory / f"{kind}_{slot}.db"
        before = path.stat().st_size if path.exists() else 0
        try:
            with path.open("ab") as file:
                file.write(bytes(max(0, size - before)))
        except OSError:
            os.truncate(path, before)
            if before == 0:
                path.unlink()  # prometheus_client cannot read an empty file
            raise


def select_storage(slot: int | None) -> None:
    """Store the values of new metrics in the files of a slot, or without a slot in memory.

    prometheus_client selects the storage at import, by PROMETHEUS_MULTIPROC_DIR, with a file per process ID. Its
    `values` module has no function for a different identifier: its issue 509 recommends this assignment.
    """
    values.ValueClass = values.MutexValue
    if slot is not None:
        values.ValueClass = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]


def remove_live_gauges(directory: Path, number: int | str) -> None:
    """Remove the live gauges of a slot. Its counters remain."""
    multiprocess.mark_process_dead(number, directory)  # type: ignore[no-untyped-call]


def remove_dead_processes(directory: Path) -> None:
    """Remove live gauges of processes that exited without cleanup."""
    for path in directory.glob("*.lock"):
        descriptor = _try_lock(path)
        if descriptor is None:
            with suppress(OSError):
                os.utime(path)  # protects the file from cleaners of temporary files
            continue
        try:  # the lock prevents a new process from taking the slot
            remove_live_gauges(directory, path.stem)
        finally:
            os.close(descriptor)


def _try_lock(path: Path) -> int | None:
    """Return the descriptor of the lock, None if a different process or user has it."""
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
