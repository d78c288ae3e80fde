"""What an earlier server may have left: processes, and files that say it still runs."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.file_locks import wait_lock
from adapters.embedded.paths import Paths

STOP_SIGNALS = ((None, 1), (signal.SIGINT, 15), (signal.SIGQUIT, 8), (signal.SIGKILL, 8))


def acquire_server_lock(paths: Paths) -> int:
    """Return the descriptor of the server's lock, once no process of an earlier server lives.

    Normally there is none, or it is ending. One that a killed keeper left running (where the kernel has no
    PR_SET_PDEATHSIG) is stopped. Raises EmbeddedPostgresError if it cannot be.
    """
    for number, seconds in STOP_SIGNALS:
        pid = _find_postmaster(paths.data)
        if number is not None and pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if (lock := wait_lock(paths.server_lock, seconds=seconds)) is not None:
            return lock
    raise EmbeddedPostgresError(f"Processes of an earlier PostgreSQL still use {paths.directory}: end them first.")


def remove_stale_files(paths: Paths, sockets: Path) -> None:
    """Remove the files that make PostgreSQL believe that a server runs, after making sure that none does.

    The caller has the server's lock, so that none of ours does. One that somebody started by hand has no such lock; it
    is found by its command, and PostgreSQL itself refuses to share the memory of a cluster.
    """
    if (pid := _find_postmaster(paths.data)) is not None:
        raise EmbeddedPostgresError(f"Another PostgreSQL (process {pid}) already runs on {paths.data}: stop it first.")
    (paths.data / "postmaster.pid").unlink(missing_ok=True)
    for left in sockets.glob(".s.PGSQL.*"):
        left.unlink(missing_ok=True)


def _find_postmaster(data: Path) -> int | None:
    """Return the process that postmaster.pid names if that is indeed a server on `data`."""
    try:
        pid = int((data / "postmaster.pid").read_bytes().split(b"\n", 1)[0])
    except (OSError, ValueError):
        return None
    return pid if pid > 0 and _is_server(pid, data) else None


def _is_server(pid: int, data: Path) -> bool:
    """Tell whether the process is a postgres that works in `data`."""
    command = _command_line(pid).replace(b"\0", b" ")
    if b"postgres" not in command:
        return False
    try:
        return Path(f"/proc/{pid}/cwd").samefile(data)
    except OSError:  # no /proc, or not ours to look at
        return b" " + os.fsencode(data.resolve()) + b" " in command + b" "


def _command_line(pid: int) -> bytes:
    """Return the command line of a process, empty when there is none."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return b""
    ps = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(ps, capture_output=True, check=False).stdout  # noqa: S603
