"""File locks (flock) and private files. The kernel releases a lock when its last descriptor is closed."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

POLL_SECONDS = 0.01
PRIVATE_FILE_MODE = 0o600
SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX


@contextmanager
def opened(path: Path, flags: int = os.O_RDWR) -> Iterator[int]:
    """Open or create a file with mode 0600, whatever the umask, and yield its descriptor. Reject symbolic links."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    try:
        if os.fstat(descriptor).st_mode & 0o777 != PRIVATE_FILE_MODE:
            os.fchmod(descriptor, PRIVATE_FILE_MODE)
        yield descriptor
    finally:
        os.close(descriptor)


def lock(descriptor: int, kind: int = EXCLUSIVE, *, seconds: float = 0) -> bool:
    """Lock an open file. Return False if another process holds the lock for that many seconds.

    Child processes that inherit the descriptor share the lock.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True
