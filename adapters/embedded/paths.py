"""Where things are: the directory of an embedded PostgreSQL, and the short one for its sockets."""

import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.file_locks import open_private

PORT = 5432
PRIVATE_MODE = 0o700
MAX_SOCKET_PATH_LENGTH = 103  # bytes; macOS has the smaller limit, Linux 107


@dataclass(frozen=True, slots=True)
class Paths:
    """The names in the directory of an embedded PostgreSQL."""

    directory: Path

    @property
    def data(self) -> Path:
        """The cluster. It appears here when it is complete, by a rename."""
        return self.directory / "data"

    @property
    def unfinished_data(self) -> Path:
        """Where the cluster is made; what is left here by an interruption is worthless."""
        return self.directory / "data.unfinished"

    @property
    def daemon_lock(self) -> Path:
        """Locked for as long as a keeper lives; says where its socket is."""
        return self.directory / "keeper.lock"

    @property
    def server_lock(self) -> Path:
        """Locked by every process of the server, orphaned backends included, for as long as one lives."""
        return self.directory / "server.lock"

    @property
    def daemon_log(self) -> Path:
        """The keeper's own output, begun anew by each keeper."""
        return self.directory / "keeper.log"

    @property
    def log(self) -> Path:
        """PostgreSQL's log."""
        return self.directory / "postgres.log"

    @property
    def previous_log(self) -> Path:
        """The log before the current one."""
        return self.directory / "postgres.log.1"


def prepare_directory(directory: Path) -> Paths:
    """Create `directory` for us alone (0700) and returns its layout, on the real path."""
    try:
        directory.mkdir(mode=PRIVATE_MODE, parents=True, exist_ok=True)
        real = directory.resolve(strict=True)
        if stat.S_IMODE(real.stat().st_mode) != PRIVATE_MODE:
            real.chmod(PRIVATE_MODE)
        paths = Paths(real)
        os.close(open_private(paths.daemon_lock, os.O_RDWR))  # whether we may write here is best tried out
    except OSError as error:
        raise EmbeddedPostgresError(f"PostgreSQL cannot use the directory {directory}: {error.strerror}.") from error
    return paths


def create_socket_directory(identity: os.stat_result, *, uid: int, gid: int) -> Path:
    """Create an empty directory with a short name, of that owner and 0700, and returns it.

    `identity` is the state of the open keeper lock: its inode is in use for as long as the keeper lives, so that no two
    keepers take the same name, and it stays the same from run to run. The caller holds that lock.
    """
    name = f"hexapost-{uid}-{identity.st_dev:x}-{identity.st_ino:x}"
    base = Path("/tmp") if os.access("/tmp", os.W_OK | os.X_OK) else Path(tempfile.gettempdir())  # noqa: S108
    path = base.resolve() / name
    if len(os.fsencode(path / f".s.PGSQL.{PORT}.lock")) > MAX_SOCKET_PATH_LENGTH:
        raise EmbeddedPostgresError(f"{path} is too long a name for a socket: set TMPDIR to a shorter directory.")
    try:
        path.mkdir(mode=PRIVATE_MODE)
    except FileExistsError:
        _check_private(path, {uid, os.geteuid()})
        for left in path.iterdir():  # sockets of a keeper that was killed
            left.unlink()
    os.chown(path, uid, gid, follow_symlinks=False)
    return path


def _check_private(path: Path, owners: set[int]) -> None:
    """Refuse a directory, link or file that another user may have put in our place."""
    state = path.lstat()
    private = stat.S_ISDIR(state.st_mode) and state.st_uid in owners and not state.st_mode & 0o077
    if not private:
        raise EmbeddedPostgresError(f"{path} is in the way: it is not a private directory of ours. Remove it.")


def remove_socket_directory(path: Path) -> None:
    """Remove the directory and the sockets in it."""
    try:
        for left in path.iterdir():
            left.unlink(missing_ok=True)
        path.rmdir()
    except FileNotFoundError:
        pass
