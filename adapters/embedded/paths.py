"""The directory of an embedded PostgreSQL, its file locks (flock), and the directory for its sockets.

The kernel releases a lock when its last descriptor is closed.
"""

import errno
import fcntl
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PORT = 5432
PRIVATE_MODE, PRIVATE_FILE_MODE = 0o700, 0o600
POLL_SECONDS = 0.01
SHARED, EXCLUSIVE = fcntl.LOCK_SH, fcntl.LOCK_EX


class EmbeddedPostgresError(Exception):
    """PostgreSQL cannot be started. The message has the cause and the remedy."""

    def __init__(self, message: str) -> None:
        super().__init__(message.encode(errors="backslashreplace").decode())  # file names can contain any bytes


class Paths:
    """The files in the directory of an embedded PostgreSQL."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.data = directory / "data"
        self.unfinished_data = directory / "data.unfinished"
        self.users_lock = directory / "users.lock"  # shared by clients, exclusive by the daemon while it stops
        self.start_lock = directory / "start.lock"  # exclusive by a client while it starts or joins a daemon
        self.daemon_lock = directory / "daemon.lock"  # exclusive by the daemon; contains its state, see `run`
        self.server_lock = directory / "server.lock"  # inherited by all processes of PostgreSQL
        self.log = directory / "postgres.log"

    def failure(self) -> str:
        """Return the first error in PostgreSQL's log, or else its last line, and the path of the log."""
        text = self.log.read_text("utf-8", errors="replace").strip()
        found = re.search(r"\b(?:FATAL|PANIC|error): +(.+)", text)
        line = found[1] if found else text.rpartition("\n")[2] or "no message, so the disk may be full"
        return f"{line} (log: {self.log})"


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
        with suppress(BlockingIOError):
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return True
        if time.monotonic() >= deadline:
            return False
        time.sleep(POLL_SECONDS)


def make_private_directory(directory: Path) -> Path:
    """Create a directory and its parents, or restrict an existing one, to mode 0700, and return its real path.

    Raises EmbeddedPostgresError if that is not possible, or if other users share the directory, as they share /tmp.
    """
    try:
        for path in [*reversed(directory.parents), directory]:
            if not path.exists():
                path.mkdir(exist_ok=True)
                path.chmod(PRIVATE_MODE)
        mode = directory.stat().st_mode
        if not stat.S_ISDIR(mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if mode & stat.S_ISVTX:
            raise PermissionError(errno.EPERM, "All users share it. Choose a directory below it")
        if stat.S_IMODE(mode) != PRIVATE_MODE:
            directory.chmod(PRIVATE_MODE)
        return directory.resolve(strict=True)
    except OSError as error:
        raise EmbeddedPostgresError(f"PostgreSQL cannot use the directory {directory}: {error.strerror}.") from error


def create_socket_directory(daemon_lock: os.stat_result, *, uid: int, gid: int) -> Path:
    """Create an empty private directory with a short path for the sockets of a server.

    The inode of the daemon's lock makes the path unique and constant. Precondition: the daemon holds that lock.
    """
    name = f"hexapost-{uid}-{daemon_lock.st_dev:x}-{daemon_lock.st_ino:x}"
    base = Path("/tmp") if os.access("/tmp", os.W_OK | os.X_OK) else Path(tempfile.gettempdir())  # noqa: S108
    path = base.resolve() / name
    try:
        path.mkdir(mode=PRIVATE_MODE)
    except FileExistsError:
        state = path.lstat()
        is_private = stat.S_ISDIR(state.st_mode) and not state.st_mode & 0o077
        if not is_private or state.st_uid not in {uid, os.geteuid()}:
            raise EmbeddedPostgresError(f"{path} exists, but is not a private directory. Remove it.") from None
    for socket in path.iterdir():  # of a killed daemon
        socket.unlink()
    os.chown(path, uid, gid, follow_symlinks=False)
    return path
