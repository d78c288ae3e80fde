"""File locks that the kernel releases when their last holder is gone, and files only we can read."""

import fcntl
import os
import time
from pathlib import Path


def open_private(path: Path, flags: int) -> int:
    """Open `path` for us alone, created when missing and never through a symbolic link; returns the descriptor."""
    return os.open(path, flags | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def try_lock(path: Path) -> int | None:
    """Return the descriptor that holds the lock of `path`, None when another process holds it.

    The lock belongs to the open file: a child that inherits the descriptor holds it too.
    """
    descriptor = open_private(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def wait_lock(path: Path, *, seconds: float) -> int | None:
    """Like `try_lock`, but tries for that many seconds."""
    deadline = time.monotonic() + seconds
    while (descriptor := try_lock(path)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return descriptor
