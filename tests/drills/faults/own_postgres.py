"""A PostgreSQL of the drill's own, which it may stop, kill and freeze."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic

from sqlalchemy import URL

from adapters.embedded.binaries import find_binaries
from adapters.embedded.cluster import SUPERUSER
from adapters.embedded.environment import clean_environment
from tests.cli.support import ROOT, environment
from tests.drills.drill import Check, DrillError, expect
from tests.drills.faults.ports import free_port
from tests.drills.faults.warden import DONE, HOST
from tests.support.databases import connected, migrate, with_driver

DATABASE = "hexapost"
END_SECONDS = 30


class OwnPostgres:
    """The server as the drill sees it. Each method returns when it is done, and raises DrillError when it is not."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self._port = port
        self.start_seconds = 0.0
        """How long a start takes: the longest of late."""
        self.await_done()

    def url(self, driver: str | None = None) -> URL:
        """Return the URL of the drill's database, for libpq or for a driver."""
        plain = URL.create("postgresql", username=SUPERUSER, host=HOST, port=self._port, database=DATABASE)
        return with_driver(plain, driver)

    def start(self) -> None:
        """Start the server on the cluster as it was left."""
        begun = monotonic()
        self._ask("start")
        self.start_seconds = max(monotonic() - begun, 0.8 * self.start_seconds)

    def stop(self) -> None:
        """Stop it in order: what is under way is broken off, what is stored is brought to disk (SIGINT)."""
        self._ask("stop")

    def crash(self) -> None:
        """Stop it at once, as the documentation's "immediate shutdown" (SIGQUIT)."""
        self._ask("crash")

    def kill(self) -> None:
        """Kill -9 the first process and all of its children."""
        self._ask("kill")

    def freeze(self) -> None:
        """Stop every process where it is (SIGSTOP)."""
        self._ask("freeze")

    def thaw(self) -> None:
        """Let them go on."""
        self._ask("thaw")

    def terminate_backends(self) -> int:
        """End the sessions of the service, and return how many there were."""
        with connected(self.url()) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hexapost'"
            )
            return len(ended.fetchall())

    def sound(self) -> list[Check]:
        """Have PostgreSQL's own tools look for damage. The server is stopped afterwards."""
        program = find_binaries().directory / "pg_amcheck"
        if not program.exists():
            raise DrillError(f"{program} is missing: it comes with PostgreSQL's contrib modules")
        where = ["--host", HOST, "--port", str(self._port), "--username", SUPERUSER]
        how = ["--install-missing", "--heapallindexed", "--parent-check"]
        told = subprocess.run(  # noqa: S603 - PostgreSQL's own
            [program, *where, *how, DATABASE], env=clean_environment(), capture_output=True, text=True, check=False
        )
        self.stop()
        self._ask("verify")
        found = (told.stdout + told.stderr).splitlines()
        claim = "pg_amcheck and pg_checksums find no damage"
        return [expect(claim, f"status {told.returncode}, {len(found)} lines", told.returncode == 0 and not found)]

    def await_done(self) -> None:
        """Return when the last command is done."""
        assert self._process.stdout is not None
        if (said := self._process.stdout.readline().strip()) != DONE:
            raise DrillError(f"the PostgreSQL of the drill: {said or 'its keeper has ended'}")

    def _ask(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        self.await_done()


@contextmanager
def own_postgres(directory: Path) -> Iterator[OwnPostgres]:
    """Run a server, with the schema and no rows, for as long as the block."""
    port = free_port()
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-m", "tests.drills.faults.warden", directory / "postgres", str(port)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            postgres = OwnPostgres(process, port)
            postgres.start()
            with connected(postgres.url().set(database="postgres")) as connection:
                connection.execute(f"CREATE DATABASE {DATABASE}")
            migrate(postgres.url())
            yield postgres
        finally:
            process.communicate(timeout=END_SECONDS)
