"""Processes that use embedded PostgreSQL, and functions that inspect processes."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from adapters.embedded import EmbeddedPostgres
from adapters.embedded.binaries import PostgresInstallation, find_installation
from adapters.embedded.os_user import choose_os_user
from adapters.embedded.paths import Paths, create_socket_directory, make_private_directory, opened

PATIENCE = 30.0
PROJECT = Path(__file__).resolve().parents[2]
HOSTILE_VARIABLES = {
    "PGHOST": "nowhere.invalid",
    "PGHOSTADDR": "192.0.2.1",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGDATABASE": "none",
    "PGPASSWORD": "wrong",
    "PGPASSFILE": "/nonexistent",
    "PGSERVICE": "none",
    "PGSERVICEFILE": "/nonexistent",
    "PGSYSCONFDIR": "/nonexistent",
    "PGOPTIONS": "-c nonsense=1",
    "PGAPPNAME": "nobody",
    "PGSSLMODE": "verify-full",
    "PGSSLNEGOTIATION": "direct",
    "PGSSLROOTCERT": "/nonexistent",
    "PGSSLCERT": "/nonexistent",
    "PGSSLKEY": "/nonexistent",
    "PGSSLCRL": "/nonexistent",
    "PGSSLCRLDIR": "/nonexistent",
    "PGSSLCERTMODE": "require",
    "PGSSLCOMPRESSION": "nonsense",
    "PGSSLSNI": "nonsense",
    "PGSSLMINPROTOCOLVERSION": "nonsense",
    "PGSSLMAXPROTOCOLVERSION": "nonsense",
    "PGMINPROTOCOLVERSION": "nonsense",
    "PGMAXPROTOCOLVERSION": "nonsense",
    "PGREQUIREAUTH": "scram-sha-256",
    "PGREQUIREPEER": "nobody",
    "PGCHANNELBINDING": "require",
    "PGGSSENCMODE": "require",
    "PGGSSLIB": "nonsense",
    "PGGSSDELEGATION": "1",
    "PGKRBSRVNAME": "nonsense",
    "PGREALM": "nonsense",
    "PGTARGETSESSIONATTRS": "standby",
    "PGLOADBALANCEHOSTS": "nonsense",
    "PGCONNECT_TIMEOUT": "nonsense",
    "PGCLIENTENCODING": "EUC_JP",
    "PGDATESTYLE": "nonsense",
    "PGTZ": "Mars/Olympus",
    "PGGEQO": "nonsense",
    "PGLOCALEDIR": "/nonexistent",
    "PGDATA": "/nonexistent",
}
"""Values of the variables of libpq, asyncpg and PostgreSQL with which no connection and no start succeeds."""
USER = """
import os
import sys
from pathlib import Path
from adapters.embedded import EmbeddedPostgres

report = lambda line: print(line, flush=True)
with EmbeddedPostgres(Path(sys.argv[1]), report=report, settings={"fsync": "off"}) as server:
    report(f"PG variables: {[name for name in os.environ if name.startswith('PG')]}")
    report("url " + server.url(driver=None))
    sys.stdin.read()
"""


class UserProcess(subprocess.Popen[str]):
    """A process that uses embedded PostgreSQL until its input ends; its working directory is not the project."""

    def __init__(self, directory: Path, *, env: dict[str, str] | None = None, **options: Any) -> None:
        super().__init__(
            [sys.executable, "-c", USER, directory],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd="/",
            env=os.environ | {"PYTHONPATH": str(PROJECT)} | (env or {}),
            **options,
        )
        self.lines: list[str] = []

    def __exit__(self, *_: object) -> None:
        self.kill()
        super().__exit__(None, None, None)

    def url(self) -> str:
        """Wait until the server is ready, and return its URL."""
        assert self.stdout is not None
        for line in self.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("url "):
                return line.removeprefix("url ").strip()
        raise AssertionError(f"no URL in {self.lines}")

    def leave(self) -> int:
        """Close its input, wait for its end, and return its exit status."""
        assert self.stdin is not None
        self.stdin.close()
        return self.finish()

    def finish(self) -> int:
        """Wait for the end of its output and of the process, and return the exit status."""
        assert self.stdout is not None
        self.lines += self.stdout.read().splitlines()
        return self.wait(PATIENCE)


def quiet(directory: Path) -> EmbeddedPostgres:
    """Return an embedded PostgreSQL without reports and without fsync."""
    return EmbeddedPostgres(directory, report=lambda _: None, settings={"fsync": "off"})


def copy_cluster(template: Path, directory: Path) -> Path:
    """Copy the cluster of `template` to a new directory, and return that directory."""
    directory.mkdir(parents=True, mode=0o700)
    shutil.copytree(template / "data", directory / "data")
    return directory


def installation_with_initdb(directory: Path, script: str) -> PostgresInstallation:
    """Return the installation of PostgreSQL with a script as `initdb`."""
    installation = find_installation()
    directory.mkdir()
    (directory / "postgres").symlink_to(installation.directory / "postgres")
    (directory / "initdb").write_text(script)
    (directory / "initdb").chmod(0o755)
    return replace(installation, directory=directory)


def make_socket_directory(directory: Path) -> Path:
    """Create the socket directory that the next server of `directory` will use."""
    paths = Paths(make_private_directory(directory))
    account = choose_os_user(paths.directory, find_installation().directory / "postgres")
    with opened(paths.daemon_lock) as daemon_lock:
        return create_socket_directory(os.fstat(daemon_lock), uid=account.uid, gid=account.gid)


def ask(url: str, statement: str) -> Any:
    """Return the first column of the first row."""
    with psycopg.connect(url, connect_timeout=int(PATIENCE), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def answers(server: EmbeddedPostgres) -> bool:
    """Return True if a client can connect and run a query."""
    try:
        return bool(ask(server.url(driver=None), "SELECT true"))
    except psycopg.OperationalError:
        return False


def eventually(condition: Callable[[], bool], expected: str) -> None:
    """Wait until the condition is true. Raises AssertionError after a generous time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {expected}"
        time.sleep(0.02)


def daemon_pid(directory: Path) -> int:
    """Return the process ID of the daemon of `directory`."""
    return int((directory / "daemon.lock").read_text().splitlines()[0])


def postmaster_pid(directory: Path) -> int:
    """Return the process ID of the postmaster."""
    return int((directory / "data" / "postmaster.pid").read_bytes().split(b"\n")[0])


def server_pids(directory: Path, url: str) -> set[int]:
    """Return the process IDs of the daemon, the postmaster and its children."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity").fetchall()
    return {daemon_pid(directory), postmaster_pid(directory)} | {row[0] for row in rows}


def is_alive(pid: int) -> bool:
    """Return True if a process runs; a zombie does not."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False
    ps = ["/bin/ps", "-o", "state=", "-p", str(pid)]
    state = subprocess.run(ps, capture_output=True, check=False).stdout  # noqa: S603
    return bool(state.strip()) and not state.startswith(b"Z")


def all_gone(pids: Iterable[int]) -> bool:
    """Return True if all processes have ended."""
    return not any(map(is_alive, pids))
