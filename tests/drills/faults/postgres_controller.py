"""Controller of a disposable PostgreSQL: `python -m tests.drills.faults.postgres_controller DIRECTORY PORT`.

It creates a cluster, reads a command per line from stdin, and prints a line after each. It is a separate process,
because only a process with a single thread can start the server safely. The server ends with it.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from adapters.embedded import EmbeddedPostgresError
from adapters.embedded.binaries import find_installation
from adapters.embedded.os_user import child_options, choose_os_user, chown_directory, kill_orphans
from adapters.embedded.paths import Paths, make_private_directory
from adapters.embedded.postgres_server import create_cluster
from tests.drills.faults.processes import children

HOST = "127.0.0.1"
DONE = "done"
START_SECONDS = STOP_SECONDS = 60.0


class PostgresController:
    def __init__(self, directory: Path, port: int) -> None:
        self._port = port
        self._layout = Paths(make_private_directory(directory))
        self._binaries = find_installation()
        self._log = os.open(self._layout.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._account = choose_os_user(self._layout.directory, self._binaries.directory / "postgres")
        chown_directory(self._layout, self._account)
        self._lock = os.open(self._layout.server_lock, os.O_RDWR | os.O_CREAT, 0o600)
        create_cluster(self._layout, self._binaries, self._account, log=self._log, lock=self._lock, durable=True)
        self._postmaster: subprocess.Popen[bytes] | None = None
        self.commands: Mapping[str, Callable[[], None]] = {
            "start": self._start,
            "stop": lambda: self._stop(signal.SIGINT),
            "crash": lambda: self._stop(signal.SIGQUIT),
            "kill": self.kill,
            "freeze": lambda: self._signal_all(signal.SIGSTOP),
            "thaw": lambda: self._signal_all(signal.SIGCONT),
            "verify": self._verify,
        }

    def _start(self) -> None:
        # All processes of the last server are gone, so a remaining file is stale.
        (self._layout.data / "postmaster.pid").unlink(missing_ok=True)
        options = {"listen_addresses": HOST, "port": str(self._port), "unix_socket_directories": ""}
        settings = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self._postmaster = self._spawned("postgres", *settings)
        deadline = time.monotonic() + START_SECONDS
        while not self._says_ready():
            if self._postmaster.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL did not start: {self._layout.failure()}")
            time.sleep(0.01)

    def _spawned(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        command: list[str | Path] = [self._binaries.directory / program, "-D", self._layout.data, *arguments]
        options = child_options(os_user=self._account, log=self._log, lock=self._lock, death_signal=signal.SIGKILL)
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, **options)  # noqa: S603 - PostgreSQL's own

    def _says_ready(self) -> bool:
        with suppress(FileNotFoundError):
            return (self._layout.data / "postmaster.pid").read_bytes().rstrip().endswith(b"ready")
        return False

    def _stop(self, number: signal.Signals) -> None:
        if self._postmaster is not None:
            self._postmaster.send_signal(number)
            try:
                self._postmaster.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                raise EmbeddedPostgresError(f"PostgreSQL did not stop after {number.name}") from None
        kill_orphans()

    def kill(self) -> None:
        """Kill every process of the server, and wait for their end."""
        if self._postmaster is not None and self._postmaster.poll() is None:
            self._signal_all(signal.SIGKILL)
            self._postmaster.wait()
        kill_orphans()

    def _signal_all(self, number: signal.Signals) -> None:
        """Send a signal to every process of the server. Suspend the postmaster first, so that it starts no other."""
        assert self._postmaster is not None
        first = self._postmaster.pid
        os.kill(first, signal.SIGSTOP)
        for pid in [*children(first), first]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def _verify(self) -> None:
        """Compare every page of the stopped cluster with its checksum."""
        child = self._spawned("pg_checksums", "--check")
        if child.wait() != 0:
            raise EmbeddedPostgresError(f"pg_checksums found: {self._layout.failure()}")


def main(directory: str, port: str) -> None:
    """Execute commands until the end of stdin."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # on Ctrl-C, the drill stops this process
    warden = PostgresController(Path(directory), int(port))
    try:
        _say(DONE)
        for line in sys.stdin:
            try:
                warden.commands[line.strip()]()
                _say(DONE)
            except (EmbeddedPostgresError, OSError) as error:
                _say(" | ".join(str(error).splitlines()))
    finally:
        warden.kill()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
