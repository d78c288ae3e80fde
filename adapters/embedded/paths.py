"""The directory of an embedded PostgreSQL, and the directory with a short path for its sockets."""

import os
import stat
import tempfile
from pathlib import Path

from adapters.embedded.file_locks import opened

PORT = 5432
PRIVATE_MODE = 0o700
MAX_LOG_LINES = 5


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
        self.daemon_lock = directory / "daemon.lock"  # exclusive by the daemon; contains its state as JSON
        self.server_lock = directory / "server.lock"  # inherited by all processes of PostgreSQL
        self.daemon_log = directory / "daemon.log"
        self.log = directory / "postgres.log"
        self.previous_log = directory / "postgres.log.1"

    def last_log_lines(self) -> str:
        """Return the last lines of PostgreSQL's log."""
        return "\n".join(self.log.read_text("utf-8", errors="replace").splitlines()[-MAX_LOG_LINES:])


def prepare_directory(directory: Path) -> Paths:
    """Create `directory` with mode 0700, whatever the umask, and return its paths."""
    try:
        for path in [*reversed(directory.parents), directory]:
            if not path.exists() or (path == directory and stat.S_IMODE(path.stat().st_mode) != PRIVATE_MODE):
                path.mkdir(exist_ok=True)
                path.chmod(PRIVATE_MODE)
        paths = Paths(directory.resolve(strict=True))
        with opened(paths.daemon_lock):  # fails if the directory is read-only
            return paths
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
