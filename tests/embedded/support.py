"""What the tests of the embedded PostgreSQL share: users in processes of their own, and a look at processes."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import psycopg

from adapters.embedded import EmbeddedPostgres

PATIENCE = 30.0
PROJECT = Path(__file__).resolve().parents[2]
QUICK = {"fsync": "off"}
USER = """
import os, sys
from pathlib import Path
from adapters.embedded import EmbeddedPostgres, EmbeddedPostgresError

say = lambda line: print(line, flush=True)
try:
    with EmbeddedPostgres(Path(sys.argv[1]), report=say, settings={"fsync": "off"}) as server:
        say("url " + server.url(driver=None))
        sys.stdin.read()
        say("leaving")
        if sys.argv[2:] == ["raise"]:
            raise ValueError("the user failed")
        if sys.argv[2:] == ["check"]:
            import psycopg
            with psycopg.connect(server.url(driver=None)) as connection:
                say("answer " + str(connection.execute("SELECT 41 + 1").fetchone()[0]))
except EmbeddedPostgresError as error:
    say("error " + str(error).replace(chr(10), " | "))
"""


class UserProcess:
    """A process that uses the embedded PostgreSQL until its standard input ends."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        assert process.stdin is not None
        self._output: IO[str] = process.stdout
        self._input: IO[str] = process.stdin
        self.lines: list[str] = []

    def read(self, prefix: str) -> str:
        """Return the rest of the first line that begins so; the test's timeout bounds the wait."""
        for line in self._output:
            self.lines.append(line.rstrip("\n"))
            if line.startswith(prefix):
                return line[len(prefix) :].strip()
        raise AssertionError(f"no line {prefix!r} in {self.lines}")

    def leave(self) -> int:
        """End its input, wait for its end and return its exit status."""
        self._input.close()
        self.lines += self._output.read().splitlines()
        return self.process.wait(PATIENCE)


@contextmanager
def user_process(
    directory: Path, *arguments: str, env: dict[str, str] | None = None, **options: Any
) -> Iterator[UserProcess]:
    """Start a user in a process of its own, in a directory that is not the project's."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", USER, directory, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd="/",
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | (env or {}),
        **options,
    )
    with process:
        try:
            yield UserProcess(process)
        finally:
            process.kill()


def quiet(directory: Path) -> EmbeddedPostgres:
    """Return an embedded PostgreSQL that reports nothing."""
    return EmbeddedPostgres(directory, report=lambda _: None, settings=QUICK)


def ask(url: str, statement: str) -> Any:
    """Return the first column of the first row."""
    with psycopg.connect(url, connect_timeout=int(PATIENCE), autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Wait until the condition holds, or fail after a generous time."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE} s: {what}"
        time.sleep(0.02)


def answers(url: str) -> bool:
    """Tell whether a client can connect and ask."""
    try:
        return bool(ask(url, "SELECT true"))
    except psycopg.OperationalError:
        return False


def keeper_pid(directory: Path) -> int:
    """Return the process that keeps the server of `directory`."""
    return int(json.loads((directory / "keeper.lock").read_text())["pid"])


def postmaster_pid(directory: Path) -> int:
    """Return the server's main process."""
    return int((directory / "data" / "postmaster.pid").read_bytes().split(b"\n")[0])


def server_pids(directory: Path, url: str) -> set[int]:
    """Return the keeper, the postmaster and the processes behind it."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT pid FROM pg_stat_activity").fetchall()
    return {keeper_pid(directory), postmaster_pid(directory)} | {row[0] for row in rows}


def is_alive(pid: int) -> bool:
    """Tell whether a process runs; one that is dead but not reaped does not."""
    if sys.platform == "linux":
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
        except (FileNotFoundError, ProcessLookupError):
            return False
    ps = ["/bin/ps", "-o", "state=", "-p", str(pid)]
    state = subprocess.run(ps, capture_output=True, check=False).stdout  # noqa: S603
    return bool(state.strip()) and not state.startswith(b"Z")


def all_gone(pids: Iterable[int]) -> bool:
    """Tell whether none of the processes runs."""
    return not any(map(is_alive, pids))


def find_process(*words: str) -> int | None:
    """Return a process whose command line has all the words, None when there is none."""
    for pid, command in _commands():
        if all(word in command for word in words) and pid != os.getpid() and is_alive(pid):
            return pid
    return None


def _commands() -> Iterator[tuple[int, str]]:
    if sys.platform == "linux":
        for process in Path("/proc").glob("[0-9]*"):
            try:
                yield int(process.name), os.fsdecode((process / "cmdline").read_bytes().replace(b"\0", b" "))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return
    for line in subprocess.check_output(["/bin/ps", "-axww", "-o", "pid=,command="], text=True).splitlines():
        pid, _, command = line.strip().partition(" ")
        yield int(pid), command
