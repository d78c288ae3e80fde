"""A client of the embedded PostgreSQL."""

import os
import signal
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self
from urllib.parse import quote

from adapters.embedded.binaries import find_installation
from adapters.embedded.cluster import DATABASE, SUPERUSER
from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.file_locks import EXCLUSIVE, SHARED, lock, open_private
from adapters.embedded.paths import PORT, prepare_directory
from adapters.embedded.server_daemon import DaemonState, read_state, start_daemon

START_TIMEOUT_SECONDS = 180
STOP_TIMEOUT_SECONDS = 60
POLL_SECONDS = 0.01


class EmbeddedPostgres:
    """A PostgreSQL server that stops when the last process that uses its directory has ended.

    A context manager. Processes that use the same directory share a server, with the settings of the first of them.
    The server listens on a Unix socket only.
    """

    user = SUPERUSER
    port = PORT

    def __init__(
        self, directory: Path, *, report: Callable[[str], None], settings: Mapping[str, str] | None = None
    ) -> None:
        """Start nothing.

        `directory` is created with mode 0700 and contains the cluster. `report` is called with a line for each step.
        `settings` are server parameters, such as {"fsync": "off"}.
        """
        self._directory = directory
        self._report = report
        self._settings = dict(settings or {})
        self._descriptors: tuple[int, int] | None = None
        self.host = ""

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server if no other client uses it."""
        self.stop()

    def url(self, database: str = DATABASE, driver: str | None = "asyncpg") -> str:
        """Return the URL of a database, for SQLAlchemy with a driver, and for libpq without one."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        host = quote(self.host, safe="")
        return f"{scheme}://{self.user}@/{quote(database, safe='')}?host={host}&port={self.port}"

    def start(self) -> None:
        """Start the server or join a running one, and return when it accepts connections.

        Remove the PG* variables from the environment of this process, because the drivers read them.
        Raises EmbeddedPostgresError or OSError if the server does not start.
        """
        if self._descriptors is not None:
            raise EmbeddedPostgresError("This EmbeddedPostgres is already started.")
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]
        self._binaries = find_installation()
        self._paths = prepare_directory(self._directory)
        self._descriptors = open_private(self._paths.users_lock), open_private(self._paths.daemon_lock)
        self._process = os.getpid()
        try:
            state = self._connect(*self._descriptors)
        except BaseException:
            self.stop()
            raise
        self.host = state.host
        self._report(f"{self._binaries.label} is ready")
        if state.settings != self._settings:
            self._report("PostgreSQL was started by another process, with other settings")

    def ensure_running(self) -> None:
        """Start the server again if it was started, and its daemon was killed since. The URL remains the same.

        Raises EmbeddedPostgresError or OSError if the server does not start.
        """
        if self._descriptors is not None:
            self._connect(*self._descriptors)

    def _connect(self, users_lock: int, daemon_lock: int) -> DaemonState:
        """Share the users lock, so that the daemon does not stop, and start a daemon if necessary."""
        start_lock = open_private(self._paths.start_lock)
        try:
            for descriptor, kind in ((users_lock, SHARED), (start_lock, EXCLUSIVE)):
                if not lock(descriptor, kind, seconds=START_TIMEOUT_SECONDS):
                    raise EmbeddedPostgresError(f"Another process blocks the start of {self._paths.directory}.")
            return self._start_or_join(daemon_lock)
        finally:
            os.close(start_lock)

    def _start_or_join(self, daemon_lock: int) -> DaemonState:
        is_starter = False
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            lock_of_new_daemon = open_private(self._paths.daemon_lock)
            try:
                if not lock(lock_of_new_daemon):
                    if (state := read_state(daemon_lock)) is not None:
                        return state
                elif is_starter:
                    break
                else:
                    is_starter = True
                    if not self._paths.data.exists():
                        self._report(f"creating the database cluster in {self._paths.data}")
                    start_daemon(self._paths, self._binaries, lock=lock_of_new_daemon, settings=self._settings)
            finally:
                os.close(lock_of_new_daemon)
            time.sleep(POLL_SECONDS)
        error = self._paths.daemon_log.read_text("utf-8", errors="replace").strip()
        raise EmbeddedPostgresError(error or f"PostgreSQL's daemon in {self._paths.directory} did not become ready.")

    def stop(self) -> None:
        """Stop using the server. Without other clients, stop it and wait for its end."""
        descriptors, self._descriptors = self._descriptors, None
        if descriptors is None:
            return
        try:
            if self._process == os.getpid() and not _stop_daemon(*descriptors):
                self._report(f"PostgreSQL is still stopping after {STOP_TIMEOUT_SECONDS} seconds")
        finally:
            for descriptor in descriptors:
                os.close(descriptor)


def _stop_daemon(users_lock: int, daemon_lock: int) -> bool:
    """Stop the daemon unless other clients use it. Return False if it does not end."""
    if not lock(users_lock):
        # Either other clients share the lock, or the daemon holds it until it has ended.
        return lock(users_lock, SHARED, seconds=STOP_TIMEOUT_SECONDS)
    if lock(daemon_lock) or (state := read_state(daemon_lock)) is None:
        return True  # it has ended, or ends after its start
    with suppress(ProcessLookupError):
        os.kill(state.pid, signal.SIGTERM)
    return lock(daemon_lock, seconds=STOP_TIMEOUT_SECONDS)
