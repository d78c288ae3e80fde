"""File locks (flock) and private files. The kernel releases a lock when its last descriptor is closed."""

import fcntl
import os
import time
from pathlib import Path

POLL_SECONDS = 0.01
PRIVATE_FILE_MODE = 0o600
SHARED = fcntl.LOCK_SH
EXCLUSIVE = fcntl.LOCK_EX


def open_private(path: Path, flags: int = os.O_RDWR) -> int:
    """Open or create a file with mode 0600, whatever the umask, and return its descriptor. Reject symbolic links."""
    descriptor = os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE_MODE)
    if os.fstat(descriptor).st_mode & 0o777 != PRIVATE_FILE_MODE:
        os.fchmod(descriptor, PRIVATE_FILE_MODE)
    return descriptor


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
