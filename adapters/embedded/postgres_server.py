"""The PostgreSQL server of the daemon."""

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from adapters.embedded.binaries import PostgresInstallation
from adapters.embedded.child_processes import child_options, kill_orphans, wait_for_exit
from adapters.embedded.cluster import create_cluster, has_cluster
from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.os_user import OsUser
from adapters.embedded.paths import PORT, Paths
from adapters.embedded.server_log import last_log_errors, rotate_log
from adapters.embedded.stale_server import acquire_server_lock, remove_stale_pid_file

START_TIMEOUT_SECONDS = 120
DEFAULTS = {
    "max_connections": "100",
    # The details of an error and its statement can contain personal data.
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
STOP_STEPS = ((signal.SIGINT, 15), (signal.SIGQUIT, 8), (signal.SIGKILL, 5))
"""The signals of a fast shutdown, an immediate one and a kill, and the seconds to wait after each of them."""


@dataclass(slots=True, kw_only=True)
class PostgresServer:
    """A cluster, and its postmaster as a child of this process."""

    paths: Paths
    binaries: PostgresInstallation
    os_user: OsUser
    sockets: Path
    settings: Mapping[str, str]
    postmaster: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """True if the postmaster runs."""
        return self.postmaster is not None and self.postmaster.poll() is None

    def start(self) -> None:
        """Create the cluster if necessary, start the postmaster, and return when it accepts connections.

        Raises EmbeddedPostgresError with the last lines of the log on failure.
        """
        kill_orphans()
        lock = acquire_server_lock(self.paths)
        log = rotate_log(self.paths)
        os.fchown(log, self.os_user.uid, self.os_user.gid)
        try:
            if not has_cluster(self.paths, self.binaries):
                durable = self.settings.get("fsync", "on") == "on"
                create_cluster(self.paths, self.binaries, self.os_user, log=log, lock=lock, durable=durable)
            remove_stale_pid_file(self.paths.data)
            (self.sockets / f".s.PGSQL.{PORT}.lock").unlink(missing_ok=True)
            options = child_options(os_user=self.os_user, log=log, lock=lock, death_signal=signal.SIGQUIT)
            self.postmaster = subprocess.Popen(self._command(), stdin=subprocess.DEVNULL, **options)  # noqa: S603
        finally:
            os.close(lock)
            os.close(log)
        deadline = time.monotonic() + START_TIMEOUT_SECONDS
        while not self._is_ready():
            if not self.is_running or time.monotonic() > deadline:
                errors = last_log_errors(self.paths)
                raise EmbeddedPostgresError(f"{self.binaries.label} did not start on {self.paths.data}:\n{errors}")
            time.sleep(0.01)

    def _command(self) -> list[str | Path]:
        fixed = {"listen_addresses": "", "port": str(PORT), "unix_socket_directories": f'"{self.sockets}"'}
        settings = DEFAULTS | dict(self.settings) | fixed
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [self.binaries.directory / "postgres", "-D", self.paths.data, *options]

    def _is_ready(self) -> bool:
        """Return the status in postmaster.pid, because failed connections fill the log."""
        pid_file = self.paths.data / "postmaster.pid"
        return pid_file.exists() and pid_file.read_bytes().rstrip().endswith(b"ready")

    def stop(self) -> None:
        """Stop the server, and wait until all its processes have ended."""
        if self.postmaster is None:
            return
        for number, seconds in STOP_STEPS:
            self.postmaster.send_signal(number)
            if wait_for_exit(self.postmaster, seconds=seconds):
                break
        kill_orphans()
