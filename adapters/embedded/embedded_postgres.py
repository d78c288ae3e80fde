"""A user's side of the embedded PostgreSQL."""

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

from adapters.embedded.binaries import PostgresInstallation, find_installation
from adapters.embedded.cluster import SUPERUSER
from adapters.embedded.errors import EmbeddedPostgresError, escape_unprintable
from adapters.embedded.file_locks import try_lock
from adapters.embedded.paths import Paths, prepare_directory
from adapters.embedded.postgres_server import DATABASE
from adapters.embedded.server_daemon import start_daemon
from adapters.embedded.server_log import last_lines

START_TIMEOUT_SECONDS = 180
STOP_TIMEOUT_SECONDS = 60


def _print_line(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()


class EmbeddedPostgres:
    """A PostgreSQL server of the caller's own, which ends with the last process that uses its directory.

    A context manager. Users of one directory, in any number of processes, share one server; the settings are those of
    the first. It listens on a unix socket only.
    """

    user = SUPERUSER

    def __init__(
        self,
        directory: Path,
        *,
        report: Callable[[str], None] = _print_line,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """Start nothing yet.

        `directory` (created, 0700) holds the cluster, `report` gets a line for each step, `settings` are
        parameters of the server, such as {"fsync": "off"}.
        """
        self._directory = directory
        self._report = report
        self._settings = dict(settings or {})
        self._connection: socket.socket | None = None
        self._process = 0
        self.host = ""
        self.port = 0

    def __enter__(self) -> Self:
        """Start the server."""
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server, if nobody else uses it."""
        self.stop()

    def url(self, database: str = DATABASE, driver: str | None = "asyncpg") -> str:
        """Return the URL of a database, for SQLAlchemy with that driver, or for libpq without one."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        host = quote(self.host, safe="")
        return f"{scheme}://{self.user}@/{quote(database, safe='')}?host={host}&port={self.port}"

    def start(self) -> None:
        """Return when the server answers: one that runs already, or a new one.

        Raises EmbeddedPostgresError when there is none to be had.
        """
        if self._connection is not None:
            raise EmbeddedPostgresError("This EmbeddedPostgres is already started.")
        binaries = find_installation()
        paths = prepare_directory(self._directory)
        try:
            ready = self._join(paths, binaries)
            self.host, self.port = ready["host"], ready["port"]
            self._report(f"{ready['label']} is ready")
            if ready["settings"] != self._settings:
                self._report("it runs already, with other settings than those asked for")
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the use of the server; if this was the last one, return when the server is down."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        with connection:
            if self._process != os.getpid():  # a forked copy does not speak for its parent
                return
            try:
                connection.settimeout(STOP_TIMEOUT_SECONDS)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(4096):
                    pass
            except OSError as error:
                if not isinstance(error, ConnectionError):
                    self._report(f"PostgreSQL is still stopping: {error}")

    def _join(self, paths: Paths, binaries: PostgresInstallation) -> dict[str, Any]:
        """Become a user, however long a keeper takes to come or go; return what the keeper says."""
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while time.monotonic() < deadline:
            if (ready := self._try_start(paths, binaries)) is not None:
                return ready
            time.sleep(0.02)
        raise EmbeddedPostgresError(
            f"The process that keeps PostgreSQL in {paths.directory} does not answer: "
            f"{paths.daemon_lock} has its number, {paths.daemon_log} what it said."
        )

    def _try_start(self, paths: Paths, binaries: PostgresInstallation) -> dict[str, Any] | None:
        """Become a user of the keeper there is, or of a new one.

        Returns what the keeper says when the server is ready, None when the keeper is not there yet or no more.
        """
        try:
            lock = try_lock(paths.daemon_lock)
            is_first = lock is not None
            connection = _connect(paths) if lock is None else self._spawn_daemon(paths, binaries, lock)
        except OSError as error:
            raise EmbeddedPostgresError(f"PostgreSQL cannot be started in {paths.directory}: {error}.") from error
        if connection is None:
            return None
        self._connection, self._process = connection, os.getpid()
        ready = self._listen(connection)
        if ready is None:
            self.stop()
            if is_first:
                lines = last_lines(paths.daemon_log)
                raise EmbeddedPostgresError(f"The keeper of PostgreSQL in {paths.directory} ended at once:\n{lines}")
        return ready

    def _spawn_daemon(self, paths: Paths, binaries: PostgresInstallation, lock: int) -> socket.socket:
        """Start a keeper, hand it the lock, and return the connection to it."""
        ours, theirs = socket.socketpair()
        try:
            start_daemon(paths, binaries, lock=lock, client=theirs.fileno(), settings=self._settings)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(lock)
        return ours

    def _listen(self, connection: socket.socket) -> dict[str, Any] | None:
        """Pass reports on until the server is ready; return what the keeper says then, None if it hangs up."""
        connection.settimeout(START_TIMEOUT_SECONDS)
        with connection.makefile("rb") as lines:
            while line := _read_line(lines):
                message: dict[str, Any] = json.loads(line)
                if "error" in message:
                    raise EmbeddedPostgresError(message["error"])
                if "ready" in message:
                    ready: dict[str, Any] = message["ready"]
                    return ready
                self._report(escape_unprintable(message["report"]))
        return None


def _read_line(lines: BinaryIO) -> bytes:
    """Return a whole line, empty when the keeper is gone."""
    try:
        line = lines.readline()
    except ConnectionError:
        return b""
    except TimeoutError as error:
        raise EmbeddedPostgresError(f"PostgreSQL was not ready after {START_TIMEOUT_SECONDS} seconds.") from error
    return line if line.endswith(b"\n") else b""


def _connect(paths: Paths) -> socket.socket | None:
    """Return a connection to the keeper that has the lock, None when it does not take any now."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(START_TIMEOUT_SECONDS)
        connection.connect(json.loads(paths.daemon_lock.read_text())["socket"])
    except (ValueError, OSError):
        connection.close()
        return None
    return connection
