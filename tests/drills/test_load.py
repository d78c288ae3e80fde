"""The load and the proxy before the service, over a service of a few lines that counts what it is asked."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from time import sleep

import pytest

from tests.drills.drill import DrillError
from tests.drills.faults.http_proxy import FAULTS, UNHEARD, HttpProxy, read_message
from tests.drills.faults.http_proxy import UNSENT as REQUEST_LOST
from tests.drills.faults.ports import free_port
from tests.drills.faults.proxy import HOST, Pipe, Proxy, running
from tests.drills.load.exchange import ACKNOWLEDGED, CANCELLED, MISTAKEN, REFUSED, UNKNOWN, UNSENT
from tests.drills.load.jobs import NUMBER, Attempt, Job, Operation
from tests.drills.load.loading import loaded, loading, refusals, samples, whole

LONGEST = 60.0


@dataclass(slots=True)
class Stub(Proxy):
    """A service: answers each request with the next status, after a while; a status of 0 is to hang up."""

    statuses: Sequence[int] = (201,)
    delay: float = 0.0
    asked: Counter[str] = field(default_factory=Counter)

    async def connect(self) -> Pipe:
        raise NotImplementedError

    async def _joined(self, client: Pipe) -> None:
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

    async def pass_on(self, client: Pipe, server: Pipe) -> None:
        raise NotImplementedError


@pytest.fixture
def stub() -> Iterator[Stub]:
    stub = Stub(seed="")
    with running(stub):
        yield stub


def _job(port: int, count: int = 20) -> Job:
    operations = [
        Operation(name=f"n{number}", method="POST", path="/", body="{}", headers={"name": f"n{number}"})
        for number in range(count)
    ]
    return Job(host=HOST, port=port, clients=4, operations=operations, patience=30.0)


def _last(attempts: Sequence[Attempt]) -> set[tuple[str, int, int]]:
    return {(attempt.outcome, attempt.status, attempt.number) for attempt in attempts if attempt.is_last}


def test_every_operation_is_sent_once_and_acknowledged(stub: Stub) -> None:
    told: list[tuple[int, int]] = []
    attempts = loaded(_job(stub.port), seconds=LONGEST, progress=lambda *how_much: told.append(how_much))
    assert _last(attempts) == {(ACKNOWLEDGED, 201, 1)}
    assert attempts[0].body == "body"
    assert set(stub.asked.values()) == {1}
    assert len(stub.asked) == len(attempts) == 20
    assert told[-1] == (20, 20)


@pytest.mark.parametrize(
    ("statuses", "last"),
    [
        ((0, 409, 429, 503, 200), (ACKNOWLEDGED, 200, 5)),
        ((422,), (REFUSED, 422, 1)),
        ((503, 404), (REFUSED, 404, 2)),
    ],
)
def test_what_may_be_acknowledged_later_is_tried_again(
    stub: Stub, statuses: tuple[int, ...], last: tuple[str, int, int]
) -> None:
    stub.statuses = statuses
    assert _last(loaded(_job(stub.port), seconds=LONGEST)) == {last}


def test_an_answer_that_never_came_is_not_counted_as_failed(stub: Stub) -> None:
    job = replace(_job(stub.port), patience=0.0, timeout=0.5)
    stub.statuses = (0,)
    assert _last(loaded(job, seconds=LONGEST)) == {(UNKNOWN, 0, 1)}
    stub.statuses, stub.delay = (200,), 30.0
    assert _last(loaded(job, seconds=LONGEST)) == {(UNKNOWN, 0, 1)}


def test_what_could_not_be_sent_is_told_apart() -> None:
    job = replace(_job(free_port()), patience=0.0)
    assert _last(loaded(job, seconds=LONGEST)) == {(UNSENT, 0, 1)}


def test_latency_counts_from_when_a_request_was_due(stub: Stub) -> None:
    stub.delay = 0.05
    attempts = loaded(replace(_job(stub.port), clients=1, rate=1000.0), seconds=LONGEST)
    # Each waits for those before it, so the last one has waited for nearly all.
    assert max(seconds for _, seconds in samples(attempts)) > 15 * stub.delay
    assert whole(attempts, "all").end > 15 * stub.delay


def test_a_load_can_be_broken_off(stub: Stub) -> None:
    stub.delay = 60.0
    with loading(_job(stub.port)) as load:
        while not stub.asked:
            load.check()
            sleep(0.01)
    with pytest.raises(DrillError, match="ended"):
        load.check()
    assert not load.attempts


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_loses_the_request_or_the_answer(stub: Stub, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.drills.faults.http_proxy.FAULTS", (fault,))
    proxy = HttpProxy(seed="1", server_port=stub.port, share=1.0, armed=True)
    with running(proxy):
        attempts = loaded(replace(_job(proxy.port), patience=0.0), seconds=LONGEST)
    assert _last(attempts) == {(UNKNOWN, 0, 1)}
    assert proxy.cuts == {fault: 20}
    asked = sum(stub.asked.values())
    # A request whose connection is cut while it is worked on may have been read or not.
    assert asked == (0 if fault == REQUEST_LOST else 20) or fault == UNHEARD


def test_a_proxy_that_is_not_armed_does_nothing(stub: Stub) -> None:
    proxy = HttpProxy(seed="1", server_port=stub.port, share=1.0)
    with running(proxy):
        assert _last(loaded(_job(proxy.port), seconds=LONGEST)) == {(ACKNOWLEDGED, 201, 1)}


def test_clients_hang_up_and_are_told_apart(stub: Stub) -> None:
    stub.delay = 60.0
    job = _job(stub.port)
    job = replace(job, operations=[replace(operation, hangs_up_within=0.2) for operation in job.operations])
    assert _last(loaded(job, seconds=LONGEST)) == {(CANCELLED, 0, 1)}
    assert refusals(loaded(job, seconds=LONGEST)) == []


def test_an_answer_to_something_else_is_told_apart(stub: Stub) -> None:
    job = _job(stub.port)
    job = replace(job, operations=[replace(operation, expects="somebody") for operation in job.operations])
    assert _last(loaded(job, seconds=LONGEST)) == {(MISTAKEN, 201, 1)}


@pytest.mark.parametrize("rate", [None, 200.0])
def test_operations_are_drawn_and_numbered_until_the_time_is_over_or_enough(stub: Stub, rate: float | None) -> None:
    drawn = Operation(name=f"n{NUMBER}", method="POST", path="/", body="{}", headers={"name": f"n{NUMBER}"})
    job = replace(_job(stub.port), operations=[drawn], rate=rate, first=7)
    for_a_second = loaded(replace(job, seconds=1.0), seconds=LONGEST)
    assert {attempt.operation for attempt in for_a_second} == stub.asked.keys()
    assert stub.asked["n7"] == 1
    with loading(replace(job, seconds=10 * LONGEST, first=1_000_000)) as load:
        while len(load.attempts) < 20:
            load.check()
            sleep(0.01)
        enough = load.finish(LONGEST)
    assert {attempt.operation for attempt in [*for_a_second, *enough]} == stub.asked.keys()
    assert set(stub.asked.values()) == {1}


def test_a_job_survives_its_way_to_the_process() -> None:
    job = replace(_job(1), rate=2.0, headers={"Authorization": "Bearer x"})
    assert replace(Job.parsed(job.line()), pauses=job.pauses) == job
    rendered = job.operations[0].rendered(job.headers).decode()
    assert rendered.startswith("POST / HTTP/1.1\r\n")
    assert "Authorization: Bearer x\r\n" in rendered
    assert json.loads(rendered.partition("\r\n\r\n")[2]) == {}
