"""Tests for `hexapost serve --workers` with real processes."""

import asyncio
import errno
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from adapters.server import worker_process
from adapters.server.worker_process import Worker
from tests.cli.support import PATIENCE, Served, create_api_key, queried, rendered, serving, wait_until
from tests.drills.load.http_connection import ACKNOWLEDGED, UNKNOWN, Connection
from tests.embedded.support import is_alive

READY = "worker is ready"
IGNORES_SIGTERM = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(flush=True)
sys.stdin.read()
"""
DRAINED = 7
DRAINS = f"""
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit({DRAINED}))
print(flush=True)
signal.pause()
"""
REQUESTS = 4
"""The number of requests to each worker of `TwoWorkers`."""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'relation' AND datname = current_database()"


def pids(served: Served) -> list[int]:
    """Wait for two workers that are ready, and return the live ones in the order of their start."""
    wait_until(lambda: len(served.events(READY)) >= 2)
    return [line["pid"] for line in served.events(READY) if is_alive(line["pid"])]


async def create_users(served: Served, key: str, name: str, end: asyncio.Event) -> set[str]:
    """Create users on a keep-alive connection until the end, and return the outcomes."""
    connection = Connection(*served.address())
    outcomes = set()
    for number in count():
        body = json.dumps({"email": f"{name}-{number}@example.org"})
        head = f"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        response = await connection.exchange((head + body).encode(), seconds=PATIENCE)
        outcomes.add(response.outcome if response.outcome == ACKNOWLEDGED else f"{response.outcome} {response.body}")
        if end.is_set():
            break
        await asyncio.sleep(0.05)
    connection.close()
    return outcomes


async def happens(served: Served, event: str, times: int = 1) -> None:
    """Wait until the log has an event so many times."""
    await asyncio.to_thread(wait_until, lambda: len(served.events(event)) >= times)


def refuses(address: tuple[str, int]) -> bool:
    """Return True if the service refuses a new connection."""
    try:
        socket.create_connection(address, timeout=PATIENCE).close()
    except ConnectionRefusedError:
        return True
    return False


async def test_rolling_restart_and_stop_lose_no_requests(tmp_path: Path, scratch: URL) -> None:
    url = rendered(scratch)
    limits = {f"HEXAPOST_{name}_TIMEOUT_SECONDS": "60" for name in ("REQUEST", "DB_ATTEMPT", "DB_STATEMENT")}
    variables = {"DATABASE_URL": url, "HEXAPOST_RATE_LIMIT": "none", **limits}
    key = create_api_key(tmp_path, **variables)
    with serving(tmp_path, "--workers", "2", **variables) as served:
        address = served.address()
        first = pids(served)
        end = asyncio.Event()
        clients = [asyncio.create_task(create_users(served, key, name, end)) for name in ("ada", "bob", "cy", "dan")]
        served.process.send_signal(signal.SIGHUP)
        await happens(served, "rolling restart finished")
        end.set()
        assert set[str]().union(*await asyncio.gather(*clients)) == {ACKNOWLEDGED}
        last = pids(served)
        assert len(last) == len(first) == 2
        assert not set(last) & set(first)

        with psycopg.connect(rendered(scratch.set(drivername="postgresql"))) as holder:
            holder.execute("LOCK TABLE users")
            request = f"GET /api/v1/users HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode()
            held = asyncio.create_task(Connection(*address).exchange(request, seconds=PATIENCE))
            await asyncio.to_thread(wait_until, lambda: queried(scratch, WAITING) == [1])
            served.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(wait_until, lambda: refuses(address))
        assert (await held).status == 200
        assert await asyncio.to_thread(served.process.wait, PATIENCE) == 0
        assert not any(map(is_alive, last))


@pytest.mark.drill
async def test_killed_worker_is_replaced(tmp_path: Path, scratch: URL) -> None:
    with serving(tmp_path, DATABASE_URL=rendered(scratch), HEXAPOST_WORKERS="2") as served:
        served.base_url()
        killed, survivor = pids(served)
        os.kill(killed, signal.SIGKILL)
        await happens(served, READY, 3)
        (ended,) = served.events("worker exited; starting a replacement")
        assert (ended["level"], ended["pid"], ended["exit_status"]) == ("warning", killed, -signal.SIGKILL)
        assert json.load(served.get("/readyz"))["components"]["pool"]["detail"] == "opened 10 of 10"
        workers = pids(served)
        assert len(workers) == 2
        assert survivor in workers
        _, log = served.output.split("documentation at ")
        assert all(line.startswith("{") for line in log.splitlines()[1:])
        served.process.kill()
        await asyncio.to_thread(wait_until, lambda: not any(map(is_alive, workers)))


def stop_processes(numbers: Sequence[int]) -> None:
    """Send SIGSTOP to the processes, and wait until they are stopped."""
    for number in numbers:
        os.kill(number, signal.SIGSTOP)
    stats = [Path(f"/proc/{number}/stat") for number in numbers]
    wait_until(lambda: all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in stats))


def continue_processes(numbers: Sequence[int]) -> None:
    for number in numbers:
        os.kill(number, signal.SIGCONT)


class TwoWorkers:
    """A service with two workers, and requests in progress on known workers."""

    def __init__(self, served: Served, url: URL, key: str) -> None:
        self.served = served
        self.url = url
        self.address = served.address()
        self.old = pids(served)
        self.requests: dict[int, list[asyncio.Task[str]]] = {}
        self.key = key

    @asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Send requests to each worker. They wait for a lock until the end of the block."""
        with psycopg.connect(rendered(self.url.set(drivername="postgresql"))) as holder:
            holder.execute("LOCK TABLE users")
            for worker in self.old:
                stopped = [other for other in self.old if other != worker]
                await asyncio.to_thread(stop_processes, stopped)
                gets = [self.get("/api/v1/users", Connection(*self.address)) for _ in range(REQUESTS)]
                self.requests[worker] = list(map(asyncio.create_task, gets))
                expected = [REQUESTS * len(self.requests)]
                await asyncio.to_thread(wait_until, lambda: queried(self.url, WAITING) == expected)  # noqa: B023
                continue_processes(stopped)
            yield

    async def get(self, path: str, connection: Connection) -> str:
        """Send a request, which ends the connection, and return the outcome."""
        request = f"GET {path} HTTP/1.1\r\nHost: x\r\nX-API-Key: {self.key}\r\nConnection: close\r\n\r\n"
        return (await connection.exchange(request.encode(), seconds=PATIENCE)).outcome

    async def get_livez(self) -> str:
        return await self.get("/livez", Connection(*self.address))

    async def outcomes(self, worker: int) -> list[str]:
        """Wait for the requests to a worker, and return their outcomes."""
        return await asyncio.gather(*self.requests[worker])

    async def check_restart(self) -> None:
        """Wait for the end of a rolling restart, and check that two new workers serve."""
        await happens(self.served, "rolling restart finished")
        await asyncio.to_thread(wait_until, lambda: len(pids(self.served)) == 2)
        assert not {*pids(self.served)} & {*self.old}
        assert await self.get_livez() == ACKNOWLEDGED


@pytest.fixture
def two_workers(tmp_path: Path, scratch: URL) -> Iterator[TwoWorkers]:
    limits = {f"HEXAPOST_{name}_TIMEOUT_SECONDS": "60" for name in ("REQUEST", "DB_ATTEMPT", "DB_STATEMENT")}
    variables = {"DATABASE_URL": rendered(scratch), **limits}
    key = create_api_key(tmp_path, **variables)
    with serving(tmp_path, "--workers", "2", **variables) as served:
        try:
            yield TwoWorkers(served, scratch, key)
        finally:
            continue_processes(pids(served))  # a stopped process would not end with the supervisor


@pytest.mark.drill
@pytest.mark.skipif(sys.platform != "linux", reason="reads the states of processes from /proc")
@pytest.mark.parametrize("victim", [0, 1, 2], ids=["first old worker", "second old worker", "new worker"])
async def test_killed_worker_loses_only_its_own_requests(two_workers: TwoWorkers, victim: int) -> None:
    async with two_workers.busy():
        two_workers.served.process.send_signal(signal.SIGHUP)
        await happens(two_workers.served, READY, 3)
        workers = pids(two_workers.served)
        await asyncio.to_thread(stop_processes, workers)
        not_accepted = Connection(*two_workers.address)
        await not_accepted.connect()
        probe = asyncio.create_task(two_workers.get("/livez", not_accepted))
        await asyncio.sleep(0)  # sends the request
        killed = workers.pop(victim)
        os.kill(killed, signal.SIGKILL)
        continue_processes(workers)
        assert await probe == ACKNOWLEDGED
    for worker in two_workers.old:
        assert await two_workers.outcomes(worker) == [UNKNOWN if worker == killed else ACKNOWLEDGED] * REQUESTS
    await two_workers.check_restart()


@pytest.mark.drill
@pytest.mark.skipif(sys.platform != "linux", reason="reads the states of processes from /proc")
async def test_stopped_worker_delays_only_its_own_requests(two_workers: TwoWorkers) -> None:
    stopped, other = two_workers.old
    async with two_workers.busy():
        await asyncio.to_thread(stop_processes, [stopped])
    assert await two_workers.outcomes(other) == [ACKNOWLEDGED] * REQUESTS
    assert [await two_workers.get_livez() for _ in range(20)] == [ACKNOWLEDGED] * 20
    assert not any(request.done() for request in two_workers.requests[stopped])
    two_workers.served.process.send_signal(signal.SIGHUP)
    assert await two_workers.outcomes(stopped) == [ACKNOWLEDGED] * REQUESTS
    await two_workers.check_restart()


async def test_worker_that_ignores_sigterm_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_process, "STOP_TIMEOUT_SECONDS", 0.05)
    line, other = socket.socketpair()
    line.setblocking(False)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", IGNORES_SIGTERM, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    worker = Worker(process, line)
    other.close()
    assert not await worker.wait_until_ready()
    assert worker.exit_status is None
    await asyncio.wait_for(worker.stop(), PATIENCE)
    assert worker.exit_status == -signal.SIGKILL


async def test_stopped_worker_is_continued_to_drain() -> None:
    pipe, other = socket.socketpair()
    other.close()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", DRAINS, stdout=asyncio.subprocess.PIPE)
    assert process.stdout is not None
    await asyncio.wait_for(process.stdout.readline(), PATIENCE)
    worker = Worker(process, pipe)
    process.send_signal(signal.SIGSTOP)
    await asyncio.wait_for(worker.stop(), PATIENCE)
    assert worker.exit_status == DRAINED


async def test_worker_start_raises_when_no_process_can_start(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, "No room")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", fail)
    with pytest.raises(BlockingIOError):
        await Worker.start([], {})
