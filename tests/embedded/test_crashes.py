"""Tests for embedded PostgreSQL when a process is killed."""

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from adapters.embedded import EmbeddedPostgresError, embedded_postgres
from tests.embedded.support import (
    PATIENCE,
    PROJECT,
    UserProcess,
    all_gone,
    answers,
    ask,
    daemon_pid,
    eventually,
    installation_with_initdb,
    postmaster_pid,
    quiet,
    server_pids,
)

pytestmark = pytest.mark.drill
INITDB = """#!/bin/sh
/bin/mkdir "$2"
echo half > "$2/half"
echo $$ $PPID > {directory}/pids
read line < {directory}/release
"""


STARTER = """
import sys
from pathlib import Path
from adapters.embedded import EmbeddedPostgres, embedded_postgres
from adapters.embedded.binaries import PostgresInstallation

embedded_postgres.find_installation = lambda: PostgresInstallation(Path(sys.argv[2]), sys.argv[3])
EmbeddedPostgres(Path(sys.argv[1]), report=lambda _: None).start()
"""


class HeldInitdb:
    """An `initdb` that writes half a cluster, reports its process IDs and then waits forever."""

    def __init__(self, directory: Path) -> None:
        self.binaries = installation_with_initdb(directory, INITDB.format(directory=directory))
        for name in ("pids", "release"):
            os.mkfifo(directory / name, 0o600)
            (directory / name).chmod(0o666)  # initdb may run as another account
        self._reader = os.open(directory / "pids", os.O_RDWR)

    def pids(self) -> tuple[int, int]:
        """Wait until half a cluster is written, and return the process IDs of initdb and of the daemon."""
        assert select.select([self._reader], [], [], PATIENCE)[0], "initdb was not started"
        initdb, daemon = os.read(self._reader, 100).split()
        return int(initdb), int(daemon)

    def release(self) -> None:
        """Let initdb end."""
        with (self.binaries.directory / "release").open("w") as file:
            file.write("\n")

    def close(self) -> None:
        os.close(self._reader)


@pytest.fixture
def held_initdb(tmp_path: Path) -> Iterator[HeldInitdb]:
    held = HeldInitdb(tmp_path / "programs")
    yield held
    held.close()


@pytest.mark.parametrize(
    ("victim", "message"), [("initdb", "could not create a cluster"), ("daemon", "was killed while it started")]
)
def test_new_cluster_is_recreated_after_kill_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_initdb: HeldInitdb, victim: str, message: str
) -> None:
    directory = tmp_path / "new"
    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as thread:
        patch.setattr(embedded_postgres, "find_installation", lambda: held_initdb.binaries)
        start = thread.submit(quiet(directory).start)
        initdb, daemon = held_initdb.pids()
        os.kill(initdb if victim == "initdb" else daemon, signal.SIGKILL)
        with pytest.raises(EmbeddedPostgresError, match=message):
            start.result(PATIENCE)
    if sys.platform == "linux" or victim == "initdb":
        eventually(lambda: all_gone([initdb, daemon]), "the end of both processes")
    assert (directory / "data.unfinished" / "half").exists()
    assert not (directory / "data").exists()
    with quiet(directory) as server:
        assert answers(server)
    assert not (directory / "data" / "half").exists()
    assert not (directory / "data.unfinished").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_processes_end_after_signal_to_starter_during_initdb(
    tmp_path: Path, held_initdb: HeldInitdb, number: signal.Signals
) -> None:
    binaries = held_initdb.binaries
    with subprocess.Popen(  # noqa: S603 - our own script
        [sys.executable, "-c", STARTER, tmp_path / "new", binaries.directory, binaries.version],
        stderr=subprocess.DEVNULL,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(PROJECT)},
    ) as starter:
        pids = held_initdb.pids()
        starter.send_signal(number)
    if number == signal.SIGKILL:
        held_initdb.release()  # the daemon looks for its clients after the end of initdb
    eventually(lambda: all_gone(pids), "the end of both processes")
    with quiet(tmp_path / "new") as server:
        assert answers(server)


def test_server_restarts_on_same_socket_after_sigkill(directory: Path) -> None:
    with quiet(directory) as server, closing(psycopg.connect(server.url(driver=None))) as connection:
        ask(server.url(driver=None), "CREATE TABLE kept AS SELECT 7 AS number")
        # A busy backend does not notice that its postmaster has ended. On Linux, the daemon kills it.
        seconds = 600 if sys.platform == "linux" else 3
        loop = f"DO 'BEGIN LOOP EXIT WHEN clock_timestamp() > now() + interval ''{seconds} s''; END LOOP; END'"
        connection.pgconn.send_query(loop.encode())
        eventually(lambda: not connection.pgconn.flush(), "a sent query")
        busy = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'DO%LOOP%' AND state = 'active'"
        eventually(lambda: ask(server.url(driver=None), busy) == 1, "a busy backend")
        killed = postmaster_pid(directory)
        os.kill(killed, signal.SIGKILL)
        eventually(lambda: all_gone([connection.info.backend_pid]), "the end of the busy backend")
        host = server.host
        server.ensure_running()
        assert server.host == host
        assert postmaster_pid(directory) != killed
        assert (directory / "postgres.log.1").exists()
        assert ask(server.url(driver=None), "SELECT number FROM kept") == 7
        pids = server_pids(directory, server.url(driver=None))
    eventually(lambda: all_gone(pids), "the end of the server's processes")


def test_server_ends_with_killed_daemon_and_starts_again(directory: Path) -> None:
    with UserProcess(directory) as user:
        url = user.url()
        ask(url, "CREATE TABLE kept AS SELECT 7 AS number")
        pids = server_pids(directory, url)
        os.kill(daemon_pid(directory), signal.SIGKILL)
        if sys.platform == "linux":  # elsewhere, the next start stops the server
            eventually(lambda: all_gone(pids), "the end of the server without its daemon")
        with quiet(directory) as server:
            assert ask(server.url(driver=None), "SELECT number FROM kept") == 7
            assert not {daemon_pid(directory), postmaster_pid(directory)} & pids
        assert user.leave() == 0
    eventually(lambda: all_gone(pids), "the end of the first server's processes")
