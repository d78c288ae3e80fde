"""The running PostgreSQL, as its keeper sees it."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from adapters.embedded import stale_server
from adapters.embedded.binaries import PostgresInstallation
from adapters.embedded.child_processes import kill_orphans, spawn, wait_for_exit
from adapters.embedded.cluster import SUPERUSER, create_cluster, has_cluster
from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.minimal_client import ServerError, execute
from adapters.embedded.os_user import OsUser
from adapters.embedded.paths import PORT, Paths
from adapters.embedded.server_log import last_log_errors, log_size

DATABASE = "hexapost"
START_TIMEOUT_SECONDS = 120
NO_SUCH_DATABASE = "3D000"
DATABASE_EXISTS = "42P04"
DEFAULTS = {
    "max_connections": "100",
    # The details of an error and the statement that met it may hold what people wrote.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
STOP_STEPS = ((signal.SIGINT, 15), (signal.SIGQUIT, 8), (signal.SIGKILL, 5))  # fast, immediate, at once


class PostgresServer:
    """One cluster and the postmaster that runs on it, a child of ours."""

    def __init__(
        self,
        paths: Paths,
        binaries: PostgresInstallation,
        *,
        os_user: OsUser,
        sockets: Path,
        settings: Mapping[str, str],
        log: int,
    ) -> None:
        """Start nothing yet; `log` is the descriptor that the server writes to."""
        self._paths = paths
        self._binaries = binaries
        self._os_user = os_user
        self._sockets = sockets
        self._settings = settings
        self._log = log
        self._postmaster: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether the postmaster lives."""
        return self._postmaster is not None and self._postmaster.poll() is None

    @property
    def has_cluster(self) -> bool:
        """Whether there is a cluster to start on; raises EmbeddedPostgresError when it is of no use to us."""
        return has_cluster(self._paths, self._binaries)

    def create_cluster(self) -> None:
        """Make the cluster, on stable storage unless the server is not to care either."""
        lock = stale_server.acquire_server_lock(self._paths)
        try:
            create_cluster(
                self._paths,
                self._binaries,
                self._os_user,
                log=self._log,
                lock=lock,
                durable=self._settings.get("fsync", "on") == "on",
            )
        finally:
            os.close(lock)

    def start(self) -> None:
        """Start the postmaster and returns when the database answers.

        Raises EmbeddedPostgresError with the last lines of its log when that fails; then nothing is left running.
        """
        kill_orphans()
        since = log_size(self._paths)
        lock = stale_server.acquire_server_lock(self._paths)
        try:
            stale_server.remove_stale_files(self._paths, self._sockets)
            self._postmaster = spawn(
                self._command(), os_user=self._os_user, log=self._log, lock=lock, death_signal=signal.SIGQUIT
            )
        finally:
            os.close(lock)
        try:
            self._await_database(self._postmaster, since)
        except BaseException:
            self.stop()
            raise

    def _command(self) -> list[str | Path]:
        fixed = {"listen_addresses": "", "port": str(PORT), "unix_socket_directories": f'"{self._sockets}"'}
        settings = DEFAULTS | dict(self._settings) | fixed
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self._binaries.directory / "postgres", "-D", self._paths.data, *options]

    def _await_database(self, postmaster: subprocess.Popen[bytes], since: int) -> None:
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while True:
            with suppress(OSError):
                if self._is_ready() and self._has_database():
                    return
            if postmaster.poll() is not None or time.monotonic() > deadline:
                lines = last_log_errors(self._paths, since=since)
                raise EmbeddedPostgresError(f"{self._binaries.label} did not start on {self._paths.data}:\n{lines}")
            time.sleep(0.01)

    def _is_ready(self) -> bool:
        """Tell whether postmaster.pid says so, which spares the log a refused connection."""
        return (self._paths.data / "postmaster.pid").read_bytes().rstrip().endswith(b"ready")

    def _has_database(self) -> bool:
        """Tell whether the database answers, after creating it when it is missing; False while the server starts."""
        try:
            self._execute(DATABASE, "SELECT 1")
        except ServerError as error:
            if error.sqlstate == NO_SUCH_DATABASE:
                self._create_database()
                return True
            return False
        return True

    def _create_database(self) -> None:
        try:
            self._execute("postgres", f"CREATE DATABASE {DATABASE}")
        except ServerError as error:
            if error.sqlstate != DATABASE_EXISTS:
                raise EmbeddedPostgresError(f"PostgreSQL did not create the database {DATABASE}: {error}") from error

    def _execute(self, database: str, statement: str) -> None:
        execute(self._sockets / f".s.PGSQL.{PORT}", user=SUPERUSER, database=database, statement=statement)

    def stop(self) -> None:
        """Stop the server and returns when it is gone; it is asked nicely first."""
        if self._postmaster is None:
            return
        for number, seconds in STOP_STEPS:
            if self._postmaster.poll() is None:
                self._postmaster.send_signal(number)
            if wait_for_exit(self._postmaster, seconds=seconds):
                break
        kill_orphans()
