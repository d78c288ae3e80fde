"""Processes and files of an earlier server."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.file_locks import lock, open_private
from adapters.embedded.paths import Paths

STOP_SIGNALS = ((signal.SIGCONT, 1), (signal.SIGINT, 15), (signal.SIGQUIT, 8), (signal.SIGKILL, 8))
"""Signals to an earlier server, and the seconds to wait after each of them."""


def acquire_server_lock(paths: Paths) -> int:
    """Wait for the end of all processes of an earlier server, and return the descriptor of the server's lock.

    Stops a server whose daemon was killed. Only Linux stops it automatically.
    Raises EmbeddedPostgresError if it does not end.
    """
    descriptor = open_private(paths.server_lock)
    for number, seconds in STOP_SIGNALS:
        if lock(descriptor):
            return descriptor
        if (pid := find_postmaster(paths.data)) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if lock(descriptor, seconds=seconds):
            return descriptor
    os.close(descriptor)
    raise EmbeddedPostgresError(f"Processes of an earlier PostgreSQL still use {paths.directory}. End them first.")


def remove_stale_pid_file(data: Path) -> None:
    """Remove the file that prevents a start. Precondition: this process holds the server's lock.

    Raises EmbeddedPostgresError if a server without that lock is running, such as one that was started manually.
    """
    if (pid := find_postmaster(data)) is not None:
        raise EmbeddedPostgresError(f"Another PostgreSQL (process {pid}) already runs on {data}. Stop it first.")
    (data / "postmaster.pid").unlink(missing_ok=True)


def find_postmaster(data: Path) -> int | None:
    """Return the process ID in postmaster.pid if that process is a server on `data`."""
    try:
        pid = int((data / "postmaster.pid").read_bytes().split(b"\n", 1)[0])
        if sys.platform == "linux":
            return pid if Path(f"/proc/{pid}/cwd").samefile(data) else None
    except (OSError, ValueError):
        return None
    ps = ["/bin/ps", "-ww", "-o", "command=", "-p", str(pid)]
    command = subprocess.run(ps, capture_output=True, check=False).stdout  # noqa: S603
    return pid if b"postgres" in command and os.fsencode(data.resolve()) in command else None
