"""Tests for the load generator and the HTTP proxy, against a stub service that counts requests."""

import asyncio
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import sleep

import pytest
from typing_extensions import override

from tests.drills.faults.http_proxy import CUT_DURING_REQUEST, FAULTS, REQUEST_DROPPED, HttpProxy, read_message
from tests.drills.faults.ports import free_port
from tests.drills.faults.proxy import HOST, Pipe, Proxy, running
from tests.drills.load import http_connection
from tests.drills.load.http_connection import ACKNOWLEDGED, CANCELLED, MISMATCHED, REFUSED, UNKNOWN, UNSENT
from tests.drills.load.load_job import NUMBER, Attempt, LoadJob, RequestSpec
from tests.drills.load.load_runner import ENDLESS, run_load, running_load
from tests.drills.scenario import ScenarioError


@dataclass(slots=True)
class Stub(Proxy):
    """A service that responds to each attempt with the next status; a status of 0 closes the connection."""

    statuses: Sequence[int] = (201,)
    delay: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)
    connections: int = 0

    @override
    async def serve_client(self, client: Pipe) -> None:
        self.connections += 1
        while True:
            request = await read_message(client.reader)
            (name,) = re.findall(r"name: (\S+)", request.decode())
            status = self.statuses[min(self.asked[name], len(self.statuses) - 1)]
            self.asked[name] += 1
            await asyncio.sleep(self.delay)
            if not status:
                return
            retry = "Retry-After: 1\r\n" if status == 409 else ""
            await client.send(f"HTTP/1.1 {status} Word\r\n{retry}content-length: 4\r\n\r\nbody".encode())


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub(seed="")
    with running(stub):
        yield stub


def _job(port: int, **operation: object) -> LoadJob:
    operations = [
        RequestSpec(name=f"n{number}", method="POST", path="/", body="{}", headers={"name": f"n{number}"})
        for number in range(20)
    ]
    return LoadJob(
        host=HOST,
        port=port,
        clients=4,
        operations=[replace(one, **operation) for one in operations],  # type: ignore[arg-type]
        retry_seconds=30.0,
    )


def _last(attempts: Sequence[Attempt]) -> set[tuple[str, int, int]]:
    return {(attempt.outcome, attempt.status, attempt.number) for attempt in attempts if attempt.is_last}


def test_load_sends_each_operation_once(stub: Stub) -> None:
    reported: list[tuple[int, int]] = []
    job = _job(stub.port, path="/users/00000000-0000-7000-8000-00000000000a")
    attempts = run_load(job, lambda *how_much: reported.append(how_much))
    assert _last(attempts) == {(ACKNOWLEDGED, 201, 1)}
    assert (attempts[0].kind, attempts[0].body) == ("POST /users/", "body")
    assert set(stub.asked.values()) == {1}
    assert len(stub.asked) == len(attempts) == 20
    assert reported[-1] == (20, 20)


@pytest.mark.parametrize(
    ("statuses", "last"),
    [
        ((0, 409, 429, 503, 200), (ACKNOWLEDGED, 200, 5)),
        ((422,), (REFUSED, 422, 1)),
        ((503, 404), (REFUSED, 404, 2)),
    ],
)
def test_load_retries_if_a_retry_may_succeed(stub: Stub, statuses: tuple[int, ...], last: tuple[str, int, int]) -> None:
    stub.statuses = statuses
    assert _last(run_load(_job(stub.port))) == {last}


@pytest.mark.parametrize(("status", "delay"), [(0, 0.0), (200, 30.0)])
def test_load_reports_a_missing_response_as_unknown(stub: Stub, status: int, delay: float) -> None:
    stub.statuses, stub.delay = (status,), delay
    assert _last(run_load(replace(_job(stub.port), retry_seconds=0.0, timeout=0.5))) == {(UNKNOWN, 0, 1)}


def test_load_reports_a_refused_connection_as_unsent() -> None:
    assert _last(run_load(replace(_job(free_port()), retry_seconds=0.0))) == {(UNSENT, 0, 1)}


@pytest.mark.parametrize(("idle_seconds", "connections"), [(600.0, 1), (0.0, 2)])
async def test_connection_is_replaced_when_it_was_idle(
    stub: Stub, monkeypatch: pytest.MonkeyPatch, idle_seconds: float, connections: int
) -> None:
    monkeypatch.setattr(http_connection, "IDLE_SECONDS", idle_seconds)
    connection = http_connection.Connection(HOST, stub.port)
    for _ in range(2):
        response = await connection.exchange(b"GET / HTTP/1.1\r\nname: n\r\n\r\n", seconds=60.0)
        assert response.outcome == ACKNOWLEDGED
    connection.close()
    assert stub.connections == connections


def test_load_counts_latency_from_the_due_time(stub: Stub) -> None:
    stub.delay = 0.05
    attempts = run_load(replace(_job(stub.port), clients=1, rate=1000.0))
    # Each request waits for those before it, so the last one waits for nearly all.
    assert max(one.done - one.due for one in attempts) > 15 * stub.delay


def test_load_can_be_killed(stub: Stub) -> None:
    stub.delay = 60.0
    with running_load(_job(stub.port)) as load:
        while not stub.asked:
            load.check()
            sleep(0.01)
    with pytest.raises(ScenarioError, match="ended"):
        load.check()
    assert not load.attempts


@pytest.mark.parametrize("fault", FAULTS)
def test_http_proxy_drops_the_request_or_the_response(stub: Stub, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.drills.faults.http_proxy.FAULTS", (fault,))
    proxy = HttpProxy(seed="1", server_port=stub.port, share=1.0)
    with running(proxy):
        assert _last(run_load(_job(proxy.port))) == {(ACKNOWLEDGED, 201, 1)}  # it is not armed
        stub.asked.clear()
        proxy.armed = True
        attempts = run_load(replace(_job(proxy.port), retry_seconds=0.0))
    assert _last(attempts) == {(UNKNOWN, 0, 1)}
    assert proxy.cuts == {fault: 20}
    asked = sum(stub.asked.values())
    # The stub may or may not read a request before its connection is cut.
    assert asked == (0 if fault == REQUEST_DROPPED else 20) or fault == CUT_DURING_REQUEST


def test_load_disconnects_before_the_response(stub: Stub) -> None:
    stub.delay = 60.0
    assert _last(run_load(_job(stub.port, disconnect_within=0.2))) == {(CANCELLED, 0, 1)}


def test_load_reports_a_response_of_another_request(stub: Stub) -> None:
    assert _last(run_load(_job(stub.port, expects="somebody"))) == {(MISMATCHED, 201, 1)}


@pytest.mark.parametrize("rate", [None, 200.0])
def test_load_draws_numbered_operations_until_its_end(stub: Stub, rate: float | None) -> None:
    drawn = RequestSpec(name=f"n{NUMBER}", method="POST", path="/", body="{}", headers={"name": f"n{NUMBER}"})
    job = replace(_job(stub.port), operations=[drawn], rate=rate, first=7)
    timed = run_load(replace(job, seconds=0.3))
    assert {attempt.operation for attempt in timed} == stub.asked.keys()
    assert stub.asked["n7"] == 1
    with running_load(replace(job, seconds=ENDLESS, first=1_000_000)) as load:
        while len(load.attempts) < 20:
            load.check()
            sleep(0.01)
        finished = load.finish()
    assert {attempt.operation for attempt in [*timed, *finished]} == stub.asked.keys()
    assert set(stub.asked.values()) == {1}
