"""A client of the embedded PostgreSQL."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, Self
from urllib.parse import quote

from adapters.embedded.binaries import find_installation
from adapters.embedded.file_locks import POLL_SECONDS, SHARED, lock, opened
from adapters.embedded.paths import PORT, EmbeddedPostgresError, prepare_directory
from adapters.embedded.postgres_server import DATABASE, SUPERUSER
from adapters.embedded.server_daemon import read_state, start_daemon

START_TIMEOUT_SECONDS = 180
STOP_TIMEOUT_SECONDS = 60
CHECK_INTERVAL_SECONDS = 1.0


class EmbeddedPostgres:
    """A PostgreSQL server that stops when the last process that uses its directory has ended.

    A context manager. Processes that use the same directory share a server, with the settings of the first of them.
    The server listens on a Unix socket only.
    """

    def __init__(
        self, directory: Path, *, report: Callable[[str], None], settings: Mapping[str, str] | None = None
    ) -> None:
        """Use a directory, which `start` creates with mode 0700.

        `report` is called with a line for each step.
        `settings` are server parameters, such as {"fsync": "off"}.
        """
        self._directory = directory
        self._report = report
        self._settings = dict(settings or {})
        self._files: ExitStack | None = None
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
        return f"{scheme}://{SUPERUSER}@/{quote(database, safe='')}?host={host}&port={PORT}"

    def start(self) -> None:
        """Start the server or join a running one, and return when it accepts connections.

        Remove the PG* variables from the environment of this process, because the drivers read them.
        Raises EmbeddedPostgresError or OSError if the server does not start.
        """
        if self._files is not None:
            raise EmbeddedPostgresError("This EmbeddedPostgres is already started.")
        for name in [name for name in os.environ if name.startswith("PG")]:
            del os.environ[name]
        self._binaries = find_installation()
        self._paths = prepare_directory(self._directory)
        self._process = os.getpid()
        self._files = ExitStack()
        self._users_lock = self._files.enter_context(opened(self._paths.users_lock))
        self._daemon_lock = self._files.enter_context(opened(self._paths.daemon_lock))
        try:
            state = self.ensure_running()
        except BaseException:
            self.stop()
            raise
        self.host = state["host"]
        self._report(f"PostgreSQL {self._binaries.version} is ready")

    def ensure_running(self) -> dict[str, Any]:
        """Start the daemon if it was killed or never started, wait until the server is ready, and return its state.

        The URL remains the same. Raises EmbeddedPostgresError or OSError if the server does not start.
        """
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        is_starter = False
        with opened(self._paths.start_lock) as start_lock:
            # The daemon holds the users lock exclusively while it stops.
            is_locked = lock(self._users_lock, SHARED, seconds=START_TIMEOUT_SECONDS) and lock(
                start_lock, seconds=START_TIMEOUT_SECONDS
            )
            while is_locked and time.monotonic() < deadline:
                with opened(self._paths.daemon_lock) as new_daemon_lock:
                    if not lock(new_daemon_lock):
                        if state := read_state(self._daemon_lock):
                            return state
                    elif is_starter:
                        break  # the daemon has ended
                    else:
                        is_starter = True
                        if not self._paths.data.exists():
                            self._report(f"creating the database cluster in {self._paths.data}")
                        start_daemon(self._paths, self._binaries, lock=new_daemon_lock, settings=self._settings)
                time.sleep(POLL_SECONDS)
            error = self._paths.daemon_log.read_text("utf-8", errors="replace").strip()
            raise EmbeddedPostgresError(error or f"PostgreSQL in {self._paths.directory} did not become ready.")

    @contextmanager
    def keep_running(self) -> Iterator[None]:
        """Restart the server if its daemon is killed during the block. If that fails, end this process with SIGTERM."""
        stopped = Event()

        def restart_loop() -> None:
            while not stopped.wait(CHECK_INTERVAL_SECONDS):
                try:
                    self.ensure_running()
                except (EmbeddedPostgresError, OSError) as error:
                    self._report(f"stopping, because the embedded PostgreSQL cannot be restarted: {error}")
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

        thread = Thread(target=restart_loop, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()

    def stop(self) -> None:
        """Stop using the server. Without other clients, stop it and wait for its end."""
        files, self._files = self._files, None
        if files is not None:
            with files:
                if self._process == os.getpid() and not self._stop_daemon():  # not a forked child
                    self._report(f"PostgreSQL is still stopping after {STOP_TIMEOUT_SECONDS} seconds")

    def _stop_daemon(self) -> bool:
        """Stop the daemon unless other clients use it. Return False if it does not end."""
        if not lock(self._users_lock):
            # Either other clients share the lock, or the daemon holds it until it has ended.
            return lock(self._users_lock, SHARED, seconds=STOP_TIMEOUT_SECONDS)
        if lock(self._daemon_lock) or (state := read_state(self._daemon_lock)) is None:
            return True  # it has ended, or ends after its start
        with suppress(ProcessLookupError):
            os.kill(state["pid"], signal.SIGTERM)
        return lock(self._daemon_lock, seconds=STOP_TIMEOUT_SECONDS)
