"""A disposable PostgreSQL that a drill may stop, kill and freeze."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path
from time import monotonic

from sqlalchemy import URL

from adapters.embedded.binaries import clean_environment, find_installation
from adapters.embedded.paths import Paths
from adapters.embedded.postgres_server import DATABASE, SUPERUSER
from adapters.testing.template_databases import connected, migrate, with_driver
from tests.cli.support import ROOT, environment
from tests.drills.faults.ports import free_port
from tests.drills.faults.postgres_controller import DONE, HOST
from tests.drills.scenario import ScenarioError, Verification, verify

END_SECONDS = 30


class DisposablePostgres:
    """Client of the controlling process. Each method returns when it is done, and raises ScenarioError on failure."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self._process = process
        self._port = port
        self.log = log
        self.start_seconds = 0.0
        """Duration of a start: a maximum that decays."""
        self.await_done()

    def url(self, driver: str | None = None) -> URL:
        plain = URL.create("postgresql", username=SUPERUSER, host=HOST, port=self._port, database=DATABASE)
        return with_driver(plain, driver)

    def start(self) -> None:
        begun = monotonic()
        self._ask("start")
        self.start_seconds = max(monotonic() - begun, 0.8 * self.start_seconds)

    def terminate_backends(self) -> int:
        """Terminate the sessions of the service, and return their number."""
        with connected(self.url()) as connection:
            ended = connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'hexapost'"
            )
            return len(ended.fetchall())

    def verify_integrity(self) -> list[Verification]:
        """Check the cluster for damage with PostgreSQL's own tools, and stop the server."""
        program = find_installation().directory / "pg_amcheck"
        if not program.exists():
            raise ScenarioError(f"{program} is missing: it is one of PostgreSQL's contrib modules")
        where = ["--host", HOST, "--port", str(self._port), "--username", SUPERUSER]
        how = ["--install-missing", "--heapallindexed", "--parent-check"]
        completed = subprocess.run(  # noqa: S603 - PostgreSQL's own
            [program, *where, *how, DATABASE], env=clean_environment(), capture_output=True, text=True, check=False
        )
        self.stop()
        self._ask("verify")
        found = (completed.stdout + completed.stderr).splitlines()
        claim = "pg_amcheck and pg_checksums find no damage"
        return [
            verify(claim, f"status {completed.returncode}, {len(found)} lines", completed.returncode == 0 and not found)
        ]

    def await_done(self) -> None:
        assert self._process.stdout is not None
        if (said := self._process.stdout.readline().strip()) != DONE:
            raise ScenarioError(f"the disposable PostgreSQL: {said or 'its controller has exited'}")

    def _ask(self, command: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        self.await_done()

    stop = partialmethod(_ask, "stop")
    """Fast shutdown (SIGINT)."""
    crash = partialmethod(_ask, "crash")
    """Immediate shutdown (SIGQUIT)."""
    kill = partialmethod(_ask, "kill")
    """SIGKILL for every process."""
    freeze = partialmethod(_ask, "freeze")
    """SIGSTOP for every process."""
    thaw = partialmethod(_ask, "thaw")


@contextmanager
def disposable_postgres(directory: Path) -> Iterator[DisposablePostgres]:
    """Run a server with an empty migrated database during the block."""
    for name in [name for name in os.environ if name.startswith("PG")]:
        del os.environ[name]  # the drivers read them
    port = free_port()
    with subprocess.Popen(  # noqa: S603 - our own
        [sys.executable, "-m", "tests.drills.faults.postgres_controller", directory / "postgres", str(port)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            postgres = DisposablePostgres(process, port, Paths(directory / "postgres").log)
            postgres.start()
            migrate(postgres.url())
            yield postgres
        finally:
            process.communicate(timeout=END_SECONDS)
