"""Tests for the supervisor of `hexapost serve --workers`, with workers that have no process."""

import asyncio
import errno
import os
import signal
import socket
from collections.abc import AsyncIterator, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from structlog.testing import capture_logs

from adapters.server import supervisor
from adapters.server.supervisor import MAX_START_FAILURES, Supervisor
from tests.support.polling import TIMEOUT_SECONDS, wait_until

WORKERS = 2


class FakeWorker:
    """A worker without a process."""

    def __init__(self, pid: int, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        self.pid = pid
        self.exit_status: int | None = None
        self.ready: asyncio.Future[bool] = loop.create_future()
        self.exited: asyncio.Future[None] = loop.create_future()
        self.is_stopping = False
        self.was_listening = True
        self.can_drain = asyncio.Event()
        self.can_drain.set()
        self._listener = listener

    async def wait_until_ready(self) -> bool:
        return await self.ready

    async def stop(self) -> None:
        self.is_stopping = True
        self.was_listening = self._listener.fileno() != -1
        await self.can_drain.wait()
        self.end(0)

    def end(self, status: int) -> None:
        if not self.exited.done():
            self.exit_status = status
            self.exited.set_result(None)
        if not self.ready.done():
            self.ready.set_result(False)


class Crew:
    """Starts workers that are ready at once, wait (`held`), end (`broken`), or cannot start (`full`)."""

    def __init__(self) -> None:
        self.mode = "ready"
        self.workers: list[FakeWorker] = []
        self.logs: list[MutableMapping[str, Any]] = []
        self.listener = socket.socket()
        self.announced = asyncio.Event()
        self.run: asyncio.Task[int]

    async def start(self) -> FakeWorker:
        if self.mode == "full":
            raise BlockingIOError(errno.EAGAIN, "No room")
        worker = FakeWorker(len(self.workers), self.listener)
        self.workers.append(worker)
        if self.mode == "ready":
            worker.ready.set_result(True)
        elif self.mode == "broken":
            worker.end(3)
        return worker

    def alive(self) -> list[int]:
        return [worker.pid for worker in self.workers if worker.exit_status is None]

    def events(self, event: str) -> list[MutableMapping[str, Any]]:
        return [line for line in self.logs if line["event"] == event]

    async def terminate(self) -> None:
        """Send SIGTERM, and check that the supervisor closes the listener before it stops the workers, and ends."""
        running = [worker for worker in self.workers if worker.exit_status is None]
        os.kill(os.getpid(), signal.SIGTERM)
        assert await asyncio.wait_for(self.run, TIMEOUT_SECONDS) == 0
        assert self.alive() == []
        assert not any(worker.was_listening for worker in running)


@pytest.fixture
async def crew(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crew]:
    """A crew, whose supervisor replaces the signal handlers until the end of the test."""
    monkeypatch.setattr(supervisor, "RESTART_BACKOFF_SECONDS", (0.001, 0.001))
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    crew = Crew()
    yield crew
    for number, handler in before.items():
        asyncio.get_running_loop().remove_signal_handler(number)
        signal.signal(number, handler)
    crew.listener.close()


@asynccontextmanager
async def supervised(crew: Crew) -> AsyncIterator[None]:
    """Run a supervisor of the crew, which must end in the block. Workers that are ready at once are ready before it."""
    with capture_logs() as crew.logs:
        supervisor = Supervisor(WORKERS, crew.start, [crew.listener])  # type: ignore[arg-type]
        crew.run = asyncio.create_task(supervisor.run(crew.announced.set))
        try:
            if crew.mode == "ready":
                await asyncio.wait_for(crew.announced.wait(), TIMEOUT_SECONDS)
            yield
            assert crew.run.done()
        finally:
            crew.run.cancel()


async def test_supervisor_gives_up_when_no_worker_becomes_ready(crew: Crew) -> None:
    crew.mode = "broken"
    async with supervised(crew):
        assert await asyncio.wait_for(crew.run, TIMEOUT_SECONDS) == 1
    failures = crew.events("worker failed to start")
    assert len(failures) >= MAX_START_FAILURES
    assert {(line["log_level"], line["exit_status"]) for line in failures} == {("warning", 3)}
    assert crew.events("no worker could be started; exiting")
    assert not crew.announced.is_set()
    assert crew.alive() == []


async def test_supervisor_retries_when_all_workers_ended(crew: Crew) -> None:
    async with supervised(crew):
        crew.mode = "broken"
        for worker in crew.workers[:]:
            worker.end(-signal.SIGBUS)
        await wait_until(lambda: len(crew.events("worker failed to start")) > 2 * MAX_START_FAILURES)
        crew.mode = "ready"
        await wait_until(lambda: len(crew.alive()) == WORKERS)
        await crew.terminate()


async def test_supervisor_replaces_worker_that_ends(crew: Crew) -> None:
    async with supervised(crew):
        crew.workers[0].end(-signal.SIGKILL)
        await wait_until(lambda: crew.alive() == [1, 2])
        await wait_until(lambda: len(crew.events("worker is ready")) == 3)
        await crew.terminate()
    (ended,) = crew.events("worker exited; starting a replacement")
    assert (ended["log_level"], ended["pid"], ended["exit_status"]) == ("warning", 0, -signal.SIGKILL)


@pytest.mark.parametrize(
    ("mode", "event"), [("broken", "worker failed to start"), ("full", "worker process could not be created")]
)
async def test_supervisor_retries_while_another_worker_serves(crew: Crew, mode: str, event: str) -> None:
    async with supervised(crew):
        crew.mode = mode
        crew.workers[0].end(1)
        await wait_until(lambda: len(crew.events(event)) > MAX_START_FAILURES)
        assert crew.alive() == [1]
        crew.mode = "ready"
        await wait_until(lambda: len(crew.alive()) == WORKERS)
        await crew.terminate()
    assert not crew.events("no worker could be started; exiting")
    assert {line.get("error_type") for line in crew.events(event)} == {"No room" if mode == "full" else None}


async def test_sigterm_stops_workers_that_start(crew: Crew) -> None:
    crew.mode = "held"
    async with supervised(crew):
        await wait_until(lambda: len(crew.workers) == WORKERS)
        await crew.terminate()
    assert not crew.announced.is_set()


async def test_sighup_replaces_each_worker_when_new_is_ready(crew: Crew) -> None:
    async with supervised(crew):
        crew.mode = "held"
        os.kill(os.getpid(), signal.SIGHUP)
        for number in range(WORKERS):
            await wait_until(lambda: len(crew.workers) == WORKERS + number + 1)  # noqa: B023 - used at once
            stopped = sum(worker.is_stopping for worker in crew.workers)
            assert stopped == number
            crew.workers[-1].ready.set_result(True)
        await wait_until(lambda: bool(crew.events("rolling restart finished")))
        assert crew.alive() == [2, 3]
        await crew.terminate()
    assert all(worker.was_listening for worker in crew.workers[:WORKERS])


async def test_failed_rolling_restart_keeps_old_workers(crew: Crew) -> None:
    async with supervised(crew):
        crew.mode = "broken"
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_until(lambda: bool(crew.events("new worker failed to start; keeping the current workers")))
        assert crew.alive() == [0, 1]
        crew.mode = "ready"
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_until(lambda: bool(crew.events("rolling restart finished")))
        await crew.terminate()


async def test_sigterm_aborts_rolling_restart_while_new_worker_starts(crew: Crew) -> None:
    async with supervised(crew):
        crew.mode = "held"
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_until(lambda: len(crew.workers) == WORKERS + 1)
        await crew.terminate()
    assert len(crew.workers) == WORKERS + 1


async def test_sigterm_aborts_rolling_restart_while_old_worker_drains(crew: Crew) -> None:
    async with supervised(crew):
        old = crew.workers[0]
        old.can_drain.clear()
        os.kill(os.getpid(), signal.SIGHUP)
        await wait_until(lambda: old.is_stopping)
        os.kill(os.getpid(), signal.SIGTERM)
        await wait_until(lambda: crew.listener.fileno() == -1)
        old.can_drain.set()
        assert await asyncio.wait_for(crew.run, TIMEOUT_SECONDS) == 0
    assert crew.alive() == []
    assert not crew.events("rolling restart finished")
