"""`hexapost serve --workers`: what a fault of one process, a roll, and the end are to those who use the service."""

import asyncio
import json
import os
import signal
import socket
from collections import Counter
from pathlib import Path
from typing import Self

import psycopg
from sqlalchemy import URL

from tests.cli.support import PATIENCE, Served, a_key, queried, rendered, serving, serving_unheard, wait_until
from tests.drills.faults.processes import children
from tests.drills.load.exchange import ACKNOWLEDGED, Connection
from tests.embedded.support import is_alive

READY = "worker is ready"
CLIENTS = 4


def pids(served: Served) -> list[int]:
    """Return the workers that live, in the order in which they got ready, when at least two did."""
    wait_until(lambda: len(served.events(READY)) >= 2)
    return [line["pid"] for line in served.events(READY) if is_alive(line["pid"])]


class Users:
    """Clients that register users one after the other, on connections that they keep, until they are told to end."""

    def __init__(self, served: Served, key: str) -> None:
        host, port = served.base_url().removeprefix("http://").split(":")
        self._address = host, int(port)
        self._key = key
        self._ends = False
        self.outcomes: Counter[str] = Counter()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._work(number)) for number in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._ends = True
        await asyncio.gather(*self._tasks)

    async def _work(self, number: int) -> None:
        connection = Connection(*self._address)
        count = 0
        while not self._ends:
            count += 1
            body = json.dumps({"email": f"user-{number}-{count}@example.org"})
            head = f"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nX-API-Key: {self._key}\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            answer = await connection.exchange((head + body).encode(), seconds=PATIENCE)
            self.outcomes[answer.outcome if answer.outcome == ACKNOWLEDGED else f"{answer.outcome} {answer.body}"] += 1
            await asyncio.sleep(0.05)
        connection.close()


async def happens(served: Served, event: str, times: int = 1) -> None:
    """Return when it has said so."""
    await asyncio.to_thread(wait_until, lambda: len(served.events(event)) >= times)


async def test_all_workers_are_replaced_and_nobody_notices(tmp_path: Path, scratch: URL) -> None:
    url = rendered(scratch)
    key = a_key(tmp_path, DATABASE_URL=url)
    with serving(tmp_path, "--workers", "2", DATABASE_URL=url, HEXAPOST_RATE_LIMIT="none") as served:
        users = Users(served, key)
        first = pids(served)
        async with users:
            served.process.send_signal(signal.SIGHUP)
            await happens(served, "all workers are new")
        assert users.outcomes.keys() == {ACKNOWLEDGED}
        last = pids(served)
        assert len(last) == len(first) == 2
        assert not set(last) & set(first)
        assert served.stop(signal.SIGTERM) == 0
        assert not any(map(is_alive, last))


async def test_a_worker_that_is_killed_is_replaced(tmp_path: Path, scratch: URL) -> None:
    with serving(tmp_path, DATABASE_URL=rendered(scratch), HEXAPOST_WORKERS="2") as served:
        served.base_url()
        killed, other = pids(served)
        os.kill(killed, signal.SIGKILL)
        await happens(served, READY, 3)
        (ended,) = served.events("worker has ended: another one takes over")
        assert (ended["level"], ended["pid"], ended["exit_status"]) == ("warning", killed, -signal.SIGKILL)
        assert len(pids(served)) == 2
        assert json.load(served.get("/readyz"))["components"]["pool"]["detail"] == "opened 10 of 10"
        left = pids(served)
        _, said = served.output.split("documentation at ")
        assert all(line.startswith("{") for line in said.splitlines()[1:]), "a line of the service is none of its log"
        served.process.kill()
        await asyncio.to_thread(wait_until, lambda: not any(map(is_alive, left)))
        assert other in left


def test_it_says_when_no_worker_gets_ready(tmp_path: Path, scratch: URL) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with serving(tmp_path, "--port", port, "--workers", "2", DATABASE_URL=rendered(scratch)) as served:
            assert served.process.wait(PATIENCE) == 1
        assert f"cannot listen on 127.0.0.1:{port}: address already in use" in served.output
    with serving(tmp_path, "--workers", "none", DATABASE_URL=rendered(scratch)) as served:
        assert served.process.wait(PATIENCE) == 2
    assert "HEXAPOST_WORKERS: " in served.output


async def test_what_is_under_way_is_finished_and_what_comes_soon_is_answered(tmp_path: Path, scratch: URL) -> None:
    """With one process: the end is announced on each connection, also one on which nothing goes on."""
    with serving(tmp_path, DATABASE_URL=rendered(scratch)) as served:
        host, port = served.base_url().removeprefix("http://").split(":")
        idle, silent = Connection(host, int(port)), await asyncio.open_connection(host, int(port))
        probe = b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"
        assert (await idle.exchange(probe, seconds=PATIENCE)).status == 200
        silent[1].write(probe[:10])
        served.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(PATIENCE):
            while (answer := await idle.exchange(probe, seconds=PATIENCE)).status == 200:  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.01)
        assert (answer.status, answer.headers["connection"]) == (503, "close")
        assert json.loads(answer.body)["components"]["service"] == {"ready": False, "detail": "draining"}
        assert (await asyncio.wait_for(silent[0].read(), PATIENCE)).startswith(b"HTTP/1.1 408")
        silent[1].close()
        assert await asyncio.to_thread(served.process.wait, PATIENCE) == 0


async def test_it_serves_on_when_nobody_reads_its_standard_error(tmp_path: Path, scratch: URL) -> None:
    with serving_unheard(tmp_path, "--workers", "2", DATABASE_URL=rendered(scratch)) as served:
        host, port = served.base_url().removeprefix("http://").split(":")
        connection = Connection(host, int(port))
        for _ in range(3):
            answer = await connection.exchange(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", seconds=PATIENCE)
            assert answer.status == 200
        connection.close()
        before = children(served.process.pid)
        os.kill(before[0], signal.SIGKILL)
        await asyncio.to_thread(wait_until, lambda: set(children(served.process.pid)) - set(before))
        assert served.get("/livez").status == 200
        assert served.stop(signal.SIGTERM) == 0


async def test_when_it_ends_who_connects_is_refused_at_once(tmp_path: Path, scratch: URL) -> None:
    """Also while the workers drain: nobody would answer."""
    key = a_key(tmp_path, DATABASE_URL=rendered(scratch))
    limits = {f"HEXAPOST_{name}_TIMEOUT_SECONDS": "60" for name in ("REQUEST", "ATTEMPT", "STATEMENT")}
    with serving(tmp_path, "--workers", "2", DATABASE_URL=rendered(scratch), **limits) as served:
        host, port = served.base_url().removeprefix("http://").split(":")

        def is_refused() -> bool:
            try:
                socket.create_connection((host, int(port)), timeout=PATIENCE).close()
            except ConnectionRefusedError:
                return True
            return False

        waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'relation' AND datname = current_database()"
        with psycopg.connect(rendered(scratch.set(drivername="postgresql"))) as holder:
            holder.execute("LOCK TABLE users")
            request = f"GET /api/v1/users HTTP/1.1\r\nHost: x\r\nX-API-Key: {key}\r\n\r\n".encode()
            asked = asyncio.create_task(Connection(host, int(port)).exchange(request, seconds=PATIENCE))
            await asyncio.to_thread(wait_until, lambda: queried(scratch, waiting) == [1])
            served.process.send_signal(signal.SIGTERM)
            await asyncio.to_thread(wait_until, is_refused)
        assert (await asked).status == 200, "it was refused only when the request was over"
        assert await asyncio.to_thread(served.process.wait, PATIENCE) == 0
