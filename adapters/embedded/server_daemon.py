"""The daemon: a background process that runs the server of one directory until the last client has ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from adapters.embedded.binaries import PostgresInstallation
from adapters.embedded.child_processes import clean_environment
from adapters.embedded.file_locks import lock, opened
from adapters.embedded.os_user import choose_os_user, chown_directory
from adapters.embedded.paths import EmbeddedPostgresError, Paths, create_socket_directory
from adapters.embedded.postgres_server import start_server, stop_server

POLL_SECONDS = 0.1
PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from adapters.embedded.server_daemon import main; main(*sys.argv[2:])"
)


def start_daemon(paths: Paths, binaries: PostgresInstallation, *, lock: int, settings: Mapping[str, str]) -> None:
    """Start a daemon, which inherits the descriptor of its lock as standard input.

    It runs without the variables and the packages of the client's Python.
    """
    os.ftruncate(lock, 0)
    arguments = (Path(__file__).parents[2], paths.directory, binaries.directory, binaries.version, json.dumps(settings))
    with opened(paths.daemon_log, os.O_WRONLY | os.O_TRUNC | os.O_APPEND) as log:
        subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", PROGRAM, *arguments],
            stdin=lock,
            stdout=log,
            stderr=log,
            env=clean_environment(),
            start_new_session=True,  # Ctrl-C in the terminal of the client does not reach the daemon
            check=False,
        )


def read_state(daemon_lock: int) -> dict[str, Any] | None:
    """Return the "pid" and "host" of a daemon with a ready server, or else None."""
    state = os.pread(daemon_lock, 1 << 16, 0)
    return json.loads(state) if state else None


def main(*arguments: str) -> None:
    """Run a daemon in the background. init reaps it."""
    if os.fork() != 0:
        os._exit(0)
    try:
        run(*arguments)
    except (EmbeddedPostgresError, OSError) as error:
        sys.exit(str(error))


def run(directory: str, programs: str, version: str, settings: str) -> None:
    """Run the server until SIGTERM, or until no client holds the users lock. Restart it after a crash."""
    os.chdir("/")
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    daemon_lock = sys.stdin.fileno()
    paths, binaries = Paths(Path(directory)), PostgresInstallation(Path(programs), version)
    os_user = choose_os_user(paths.directory, binaries.directory / "postgres")
    chown_directory(paths, os_user)
    sockets = create_socket_directory(os.fstat(daemon_lock), uid=os_user.uid, gid=os_user.gid)
    state = {"pid": os.getpid(), "host": str(sockets)}
    postmaster: subprocess.Popen[bytes] | None = None
    with opened(paths.users_lock) as users_lock:
        try:
            while not lock(users_lock):
                if postmaster is None or postmaster.poll() is not None:
                    os.ftruncate(daemon_lock, 0)
                    if not os.path.samestat(os.fstat(daemon_lock), paths.daemon_lock.stat()):
                        raise EmbeddedPostgresError(f"{paths.directory} was replaced while PostgreSQL was running.")
                    postmaster = start_server(paths, binaries, os_user, sockets, json.loads(settings))
                    os.pwrite(daemon_lock, json.dumps(state).encode(), 0)
                time.sleep(POLL_SECONDS)
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.ftruncate(daemon_lock, 0)
            if postmaster:
                stop_server(postmaster)
            shutil.rmtree(sockets, ignore_errors=True)
