"""A client of the embedded PostgreSQL."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Self
from urllib.parse import quote

from adapters.embedded.binaries import clean_environment, find_installation
from adapters.embedded.paths import PORT, SHARED, EmbeddedPostgresError, Paths, lock, make_private_directory, opened
from adapters.embedded.postgres_server import DATABASE, SUPERUSER

START_TIMEOUT_SECONDS, STOP_TIMEOUT_SECONDS = 180, 60
POLL_SECONDS, CHECK_INTERVAL_SECONDS = 0.01, 1.0
PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); from adapters.embedded.postgres_server import main; main(*sys.argv[2:])"
)


class EmbeddedPostgres:
    """A PostgreSQL server that stops when the last process that uses its directory has ended.

    A context manager. Processes that use the same directory share a server, with the settings of the first of them.
    The server listens on a Unix socket only.
    """

    def __init__(
        self, directory: Path, *, report: Callable[[str], None], settings: Mapping[str, str] | None = None
    ) -> None:
        """Use a directory, which `start` creates with mode 0700.

        `report` gets a line for each step. `settings` are server parameters, such as {"fsync": "off"}.
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
        self._paths = Paths(make_private_directory(self._directory))
        self._process = os.getpid()
        self._files = ExitStack()
        self._users_lock = self._files.enter_context(opened(self._paths.users_lock))
        self._daemon_lock = self._files.enter_context(opened(self._paths.daemon_lock))
        try:
            self.ensure_running()
        except BaseException:
            self.stop()
            raise
        self._report(f"PostgreSQL {self._binaries.version} is ready")

    def ensure_running(self) -> None:
        """Start the daemon if it has ended or was never started, and wait until the server is ready.

        The URL remains the same. Raises EmbeddedPostgresError or OSError if the server does not start.
        """
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        with opened(self._paths.start_lock) as start_lock:
            while time.monotonic() < deadline:
                # The daemon holds the users lock exclusively while it stops.
                if lock(self._users_lock, SHARED) and lock(start_lock):
                    with opened(self._paths.daemon_lock) as daemon_lock:
                        if lock(daemon_lock):
                            self._start_daemon(daemon_lock)
                        _, self.host = _read_state(daemon_lock)
                        if self.host:
                            return
                time.sleep(POLL_SECONDS)
        raise EmbeddedPostgresError(f"PostgreSQL in {self._paths.directory} did not become ready.")

    def _start_daemon(self, daemon_lock: int) -> None:
        """Start a daemon and wait until its server is ready. Raises EmbeddedPostgresError if it ends instead.

        The daemon inherits the descriptor of its lock as standard input, and nothing from this Python.
        """
        paths, binaries = self._paths, self._binaries
        if not paths.data.exists():
            self._report(f"creating the database cluster in {paths.data}")
        os.ftruncate(daemon_lock, 0)
        arguments = (Path(__file__).parents[2], paths.directory, binaries.directory, binaries.version)
        output = subprocess.run(  # noqa: S603
            [sys.executable, "-I", "-S", "-c", PROGRAM, *arguments, json.dumps(self._settings)],
            stdin=daemon_lock,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=clean_environment(),
            start_new_session=True,  # Ctrl-C in the terminal of the client does not reach the daemon
            check=False,
        ).stdout
        if not _read_state(daemon_lock)[1]:
            error = output.decode(errors="replace").strip()
            raise EmbeddedPostgresError(error or f"PostgreSQL in {paths.directory} was killed while it started.")

    @contextmanager
    def keep_running(self) -> Iterator[None]:
        """Restart the server if its daemon is killed during the block.

        If that fails, end the block with SIGTERM. Then raises EmbeddedPostgresError.
        """
        stopped = Event()
        failures: list[EmbeddedPostgresError] = []

        def restart_loop() -> None:
            while not stopped.wait(CHECK_INTERVAL_SECONDS):
                try:
                    self.ensure_running()
                except (EmbeddedPostgresError, OSError) as error:
                    failures.append(EmbeddedPostgresError(f"PostgreSQL ended and cannot be restarted: {error}"))
                    os.kill(os.getpid(), signal.SIGTERM)
                    return

        thread = Thread(target=restart_loop, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stopped.set()
            thread.join()
            if failures:
                raise failures[0]

    def stop(self) -> None:
        """Stop using the server. Without other clients, stop it and wait for its end."""
        files, self._files = self._files, None
        if files is None:
            return
        with files:
            if self._process != os.getpid():
                return  # a forked child, which shares the locks
            if not lock(self._users_lock):
                # Either other clients share the lock, or the daemon holds it until it has ended.
                has_ended = lock(self._users_lock, SHARED, seconds=STOP_TIMEOUT_SECONDS)
            elif lock(self._daemon_lock) or not (pid := _read_state(self._daemon_lock)[0]):
                has_ended = True  # or it ends soon, because it has no client
            else:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
                has_ended = lock(self._daemon_lock, seconds=STOP_TIMEOUT_SECONDS)
            if not has_ended:
                self._report(f"PostgreSQL is still stopping after {STOP_TIMEOUT_SECONDS} seconds")


def _read_state(daemon_lock: int) -> tuple[int, str]:
    """Return the process ID of the daemon, or 0, and the host of its server, or "" unless it is ready."""
    lines = os.fsdecode(os.pread(daemon_lock, 1 << 16, 0)).split("\n")[:-1]  # without a partly written one
    return int(lines[0]) if lines else 0, "".join(lines[1:])
