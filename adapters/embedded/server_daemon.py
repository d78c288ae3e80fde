"""The daemon: a background process that runs the server of one directory until the last client has ended."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from adapters.embedded.binaries import PostgresInstallation
from adapters.embedded.child_processes import become_subreaper, clean_environment
from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.file_locks import lock, open_private
from adapters.embedded.os_user import choose_os_user, chown_directory
from adapters.embedded.paths import Paths, create_socket_directory
from adapters.embedded.postgres_server import PostgresServer
from adapters.embedded.server_log import truncate_large_log

POLL_SECONDS = 0.05
PROJECT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-I", "-S", "-c")
"""Python without the variables and the packages of the client."""
PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from adapters.embedded.server_daemon import main; main(*sys.argv[2:])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonState:
    """The state of a daemon with a ready server. Clients read it from the lock file."""

    pid: int
    host: str
    settings: Mapping[str, str]


def start_daemon(paths: Paths, binaries: PostgresInstallation, *, lock: int, settings: Mapping[str, str]) -> None:
    """Start a daemon, which inherits the descriptor of its lock as standard input."""
    os.ftruncate(lock, 0)
    log = open_private(paths.daemon_log, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
    subprocess.run(  # noqa: S603
        [*PYTHON, PROGRAM, PROJECT, paths.directory, binaries.directory, binaries.version, json.dumps(settings)],
        stdin=lock,
        stdout=log,
        stderr=log,
        env=clean_environment(),
        start_new_session=True,  # Ctrl-C in the terminal of the client does not reach the daemon
        check=False,
    )
    os.close(log)


def read_state(descriptor: int) -> DaemonState | None:
    """Return the state in the lock file of a daemon, or None if its server is not ready."""
    try:
        return DaemonState(**json.loads(os.pread(descriptor, 1 << 16, 0)))
    except ValueError:
        return None


def main(directory: str, programs: str, version: str, settings: str) -> None:
    """Run a daemon in the background."""
    if os.fork() != 0:
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    paths, binaries = Paths(Path(directory)), PostgresInstallation(Path(programs), version)
    try:
        run(paths, binaries, json.loads(settings), sys.stdin.fileno())
    except (EmbeddedPostgresError, OSError) as error:
        sys.exit(str(error))


def run(paths: Paths, binaries: PostgresInstallation, settings: Mapping[str, str], daemon_lock: int) -> None:
    """Run the server until SIGTERM, or until no client holds the users lock. Restart it after a crash."""
    users_lock = open_private(paths.users_lock)
    os_user = choose_os_user(paths.directory, binaries.directory / "postgres")
    chown_directory(paths, os_user)
    sockets = create_socket_directory(os.fstat(daemon_lock), uid=os_user.uid, gid=os_user.gid)
    server = PostgresServer(paths=paths, binaries=binaries, os_user=os_user, sockets=sockets, settings=settings)
    state = DaemonState(pid=os.getpid(), host=str(sockets), settings=settings)
    try:
        while not lock(users_lock):
            if not server.is_running:
                os.ftruncate(daemon_lock, 0)
                if not paths.daemon_lock.exists() or not os.path.samestat(
                    os.fstat(daemon_lock), paths.daemon_lock.stat()
                ):
                    raise EmbeddedPostgresError(f"{paths.directory} was replaced while PostgreSQL was running.")
                server.start()
                os.pwrite(daemon_lock, json.dumps(asdict(state)).encode(), 0)
            truncate_large_log(paths)
            time.sleep(POLL_SECONDS)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        os.ftruncate(daemon_lock, 0)
        server.stop()
        shutil.rmtree(sockets, ignore_errors=True)
