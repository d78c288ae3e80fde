"""`hexapost serve --workers`, with workers that do not get ready, or not yet: what is given up, and what is stopped."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import URL

from adapters.cli.serving import processes
from adapters.cli.serving.processes import STOP_SECONDS, Worker
from adapters.cli.serving.supervisor import MOST_FAILURES
from tests.cli.support import PATIENCE, ROOT, Served, rendered, serving, wait_until
from tests.cli.test_workers import READY, pids
from tests.embedded.support import is_alive

# Python imports it at the start of each process that has it in its path.
GATE = """
import asyncio, errno, os, pathlib, sys, time

place = pathlib.Path(__file__).parent
if "worker" in sys.orig_argv:
    with (place / "started").open("a") as file:
        file.write(f"{os.getpid()}\\n")
    if (place / "broken").exists():
        os._exit(3)
    while (place / "held").exists():
        time.sleep(0.01)

start = asyncio.create_subprocess_exec

async def limited(*words, **more):
    if (place / "full").exists():
        raise BlockingIOError(errno.EAGAIN, "No room")
    return await start(*words, **more)

asyncio.create_subprocess_exec = limited
"""
DEAF = "import signal, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); sys.stdin.read()"


class Gate:
    """What the workers have to pass when they start: they end there (`broken`), or wait (`held`)."""

    def __init__(self, place: Path) -> None:
        self._place = place
        (place / "sitecustomize.py").write_text(GATE)
        (place / "started").touch()

    def serving(self, url: URL) -> AbstractContextManager[Served]:
        """Serve with two workers."""
        path = f"{self._place}:{ROOT}"
        return serving(self._place, "--workers", "2", DATABASE_URL=rendered(url), PYTHONPATH=path)

    @contextmanager
    def being(self, state: str) -> Iterator[None]:
        """Be so for as long as the block."""
        (self._place / state).touch()
        yield
        (self._place / state).unlink()

    @property
    def started(self) -> list[int]:
        """All workers that were started, in order."""
        return [int(line) for line in (self._place / "started").read_text().splitlines()]


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


def ended_in_order(served: Served, gate: Gate) -> None:
    """Send SIGTERM, and check that every process ends, and none of them has to be killed."""
    since = time.monotonic()
    assert served.stop(signal.SIGTERM) == 0
    assert time.monotonic() - since < STOP_SECONDS
    assert not any(map(is_alive, gate.started))


def test_it_gives_up_when_no_worker_gets_ready(gate: Gate, scratch: URL) -> None:
    with gate.being("broken"), gate.serving(scratch) as served:
        assert served.process.wait(PATIENCE) == 1
    failures = served.events("worker did not get ready")
    assert len(failures) >= MOST_FAILURES
    assert {(line["level"], line["exit_status"]) for line in failures} == {("warning", 3)}
    assert served.events()[-1]["event"] == "no worker gets ready: giving up"
    assert "documentation at" not in served.output
    assert not any(map(is_alive, gate.started))


@pytest.mark.parametrize(
    ("state", "said"), [("broken", "worker did not get ready"), ("full", "no worker can be started")]
)
def test_it_does_not_give_up_while_one_is_at_work(gate: Gate, scratch: URL, state: str, said: str) -> None:
    with gate.serving(scratch) as served:
        served.base_url()
        killed, left = pids(served)
        with gate.being(state):
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: len(served.events(said)) > MOST_FAILURES)
            assert pids(served) == [left]
            assert served.get("/livez").status == 200
        wait_until(lambda: len(pids(served)) == 2)
        assert "giving up" not in served.output
        assert {line.get("error") for line in served.events(said)} == {"No room" if state == "full" else None}
        ended_in_order(served, gate)


def test_workers_that_start_are_stopped(gate: Gate, scratch: URL) -> None:
    with gate.being("held"), gate.serving(scratch) as served:
        wait_until(lambda: len(gate.started) == 2)
        ended_in_order(served, gate)
    assert served.events(READY) == []


def test_a_roll_is_broken_off_while_the_new_worker_starts(gate: Gate, scratch: URL) -> None:
    with gate.serving(scratch) as served:
        served.base_url()
        with gate.being("held"):
            served.process.send_signal(signal.SIGHUP)
            wait_until(lambda: len(gate.started) == 3)
            ended_in_order(served, gate)
    assert len(gate.started) == 3


def test_a_roll_is_broken_off_while_the_old_worker_drains(gate: Gate, scratch: URL) -> None:
    with gate.serving(scratch) as served:
        host, port = served.base_url().removeprefix("http://").split(":")
        clients = [socket.create_connection((host, int(port))) for _ in range(20)]  # the old ones wait for them
        served.process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(served.events(READY)) >= 3)
        ended_in_order(served, gate)
        for client in clients:
            client.close()
    assert "all workers are new" not in served.output


async def test_a_worker_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "STOP_SECONDS", 0.05)
    line, other = socket.socketpair()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", DEAF, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    with other:
        worker = Worker(process, line)
        assert worker.status is None
        await asyncio.wait_for(worker.stop(), PATIENCE)
    assert worker.status == -signal.SIGKILL
