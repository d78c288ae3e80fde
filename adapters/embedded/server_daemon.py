"""The keeper: the process that owns the server of one directory and stops it with the last user.

It runs in a session of its own, out of reach of the terminal's Ctrl-C. Each user is a connection; the keeper writes
lines of JSON to it (`report`, then `ready` or `error`) and reads nothing but its end.
"""

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from adapters.embedded.binaries import PostgresInstallation
from adapters.embedded.child_processes import become_subreaper
from adapters.embedded.clean_environment import clean_environment
from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.file_locks import open_private
from adapters.embedded.os_user import OsUser, choose_os_user, chown_directory
from adapters.embedded.paths import PORT, Paths, create_socket_directory, remove_socket_directory
from adapters.embedded.postgres_server import PostgresServer
from adapters.embedded.server_log import limit_log, rotate_log

SOCKET = "keeper.sock"
RESTARTS, RESTART_SECONDS = 30, 60
LOG_SECONDS = 60

PROJECT = Path(__file__).resolve().parents[2]
PYTHON = (sys.executable, "-I", "-S", "-c")  # no variable and no package of the caller's Python has a say
PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from adapters.embedded.server_daemon import main; main(sys.argv[2:])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DaemonOptions:
    """What the first user tells its keeper, besides paths: two descriptors that it inherits, and the rest."""

    lock: int
    client: int
    version: str
    source: str
    settings: Mapping[str, str]


def start_daemon(
    paths: Paths, binaries: PostgresInstallation, *, lock: int, client: int, settings: Mapping[str, str]
) -> None:
    """Start a keeper, which takes over the descriptors of the keeper's lock and of the first user's connection."""
    task = DaemonOptions(lock=lock, client=client, version=binaries.version, source=binaries.source, settings=settings)
    log = open_private(paths.daemon_log, os.O_WRONLY | os.O_TRUNC | os.O_APPEND)
    try:  # paths go as arguments of their own, for the bytes of a file name are not always text
        subprocess.run(  # noqa: S603
            [*PYTHON, PROGRAM, PROJECT, paths.directory, binaries.directory, json.dumps(asdict(task))],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=clean_environment(),
            pass_fds=(lock, client),
            start_new_session=True,
            check=False,
        )
    finally:
        os.close(log)


class ServerDaemon:
    """Serves users until there are none."""

    def __init__(self, paths: Paths, binaries: PostgresInstallation, options: DaemonOptions) -> None:
        """Take the first user's connection and the lock from the task."""
        self._paths = paths
        self._binaries = binaries
        self._options = options
        self._clients = {socket.socket(fileno=options.client)}
        self._selector = selectors.DefaultSelector()
        self._restarts: deque[float] = deque(maxlen=RESTARTS)
        self._stopping = False
        self._wakeup, self._waker = socket.socketpair()
        self._waker.setblocking(False)

    def run(self) -> None:
        """Start the server, keep it up while there are users, and stop it."""
        server: PostgresServer | None = None
        sockets: Path | None = None
        try:
            self._watch_signals()
            log = rotate_log(self._paths)
            os_user = choose_os_user(self._paths.directory, self._binaries.directory / "postgres")
            chown_directory(self._paths, os_user)
            sockets = create_socket_directory(os.fstat(self._options.lock), uid=os_user.uid, gid=os_user.gid)
            server = PostgresServer(
                self._paths,
                self._binaries,
                os_user=os_user,
                sockets=sockets,
                settings=self._options.settings,
                log=log,
            )
            if not server.has_cluster:
                self._notify_clients(report=f"creating the database cluster in {self._paths.data}")
                server.create_cluster()
            server.start()
            with self._listen(sockets / SOCKET, os_user) as listener:
                self._serve(server, listener, sockets)
        except (EmbeddedPostgresError, OSError) as error:
            self._notify_clients(error=str(error))
            _log(error)
        finally:
            if server:
                server.stop()
            if sockets:
                remove_socket_directory(sockets)

    def _listen(self, address: Path, os_user: OsUser) -> socket.socket:
        """Return the socket at `address` that users connect to, after writing the address into the lock file."""
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(address))
        os.chown(address, os_user.uid, os_user.gid)
        listener.listen(128)
        listener.setblocking(False)
        os.ftruncate(self._options.lock, 0)
        os.pwrite(self._options.lock, json.dumps({"pid": os.getpid(), "socket": str(address)}).encode(), 0)
        return listener

    def _serve(self, server: PostgresServer, listener: socket.socket, sockets: Path) -> None:
        """Return when there are no users left, or on SIGTERM."""
        ready = {"host": str(sockets), "port": PORT, "label": self._binaries.label, "settings": self._options.settings}
        self._notify_clients(ready=ready)
        for source in (listener, *self._clients):
            self._selector.register(source, selectors.EVENT_READ)
        while not self._stopping:
            events = [key.fileobj for key, _ in self._selector.select(LOG_SECONDS)]
            if self._wakeup in events:
                self._wakeup.recv(4096)
            if not server.is_running:
                self._restart(server)
            self._accept_clients(listener, ready)
            self._drop_clients([user for user in self._clients if user in events])
            limit_log(self._paths)

    def _watch_signals(self) -> None:
        """Make the selector wake up when a child dies, and SIGTERM end the loop."""
        signal.set_wakeup_fd(self._waker.fileno(), warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        self._selector.register(self._wakeup, selectors.EVENT_READ)

    def _stop(self, *_: object) -> None:
        self._stopping = True

    def _accept_clients(self, listener: socket.socket, ready: Mapping[str, Any]) -> None:
        """Take in the users that wait."""
        with suppress(BlockingIOError):
            while True:
                client, _ = listener.accept()
                self._clients.add(client)
                self._selector.register(client, selectors.EVENT_READ)
                _send(client, ready=ready)

    def _drop_clients(self, readable: list[socket.socket]) -> None:
        """Let users go whose connection has ended. The last one's stays open until the server is down."""
        for client in readable:
            with suppress(ConnectionError):
                if client.recv(4096):
                    continue
            if len(self._clients) == 1:
                self._stopping = True
                return
            self._clients.remove(client)
            self._selector.unregister(client)
            client.close()

    def _restart(self, server: PostgresServer) -> None:
        """Start a server that died, at once, but not again and again. Raises EmbeddedPostgresError then."""
        while True:
            now = time.monotonic()
            if len(self._restarts) == RESTARTS and now - self._restarts[0] < RESTART_SECONDS:
                raise EmbeddedPostgresError(
                    f"PostgreSQL died {RESTARTS} times within {RESTART_SECONDS} seconds: see {self._paths.log}"
                )
            self._restarts.append(now)
            self._check_directory()
            _log("PostgreSQL died: starting it again")
            try:
                server.start()
            except EmbeddedPostgresError as error:
                _log(error)
                time.sleep(0.5)
            else:
                return

    def _check_directory(self) -> None:
        """Raise when our directory was deleted or moved: what has its name now may be another keeper's."""
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(self._options.lock), self._paths.daemon_lock.lstat()):
                return
        raise EmbeddedPostgresError(f"{self._paths.directory} is no longer what it was when PostgreSQL started.")

    def _notify_clients(self, **message: object) -> None:
        for client in self._clients:
            _send(client, **message)


def _send(client: socket.socket, **message: object) -> None:
    with suppress(ConnectionError):  # its end is noticed when it is read
        client.sendall(json.dumps(message).encode() + b"\n")


def _log(line: object) -> None:
    """Write a line to the keeper's log."""
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {line}\n")
    sys.stderr.flush()


def main(arguments: list[str]) -> None:
    """Run a keeper in the background: directory, directory of the programs and the task, as JSON."""
    if os.fork() != 0:  # so that no user has it for a child to reap
        os._exit(0)
    os.chdir("/")
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    become_subreaper()
    directory, programs, options = Path(arguments[0]), Path(arguments[1]), DaemonOptions(**json.loads(arguments[2]))
    binaries = PostgresInstallation(directory=programs, version=options.version, source=options.source)
    ServerDaemon(Paths(directory), binaries, options).run()
