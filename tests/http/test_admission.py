"""Tests for the limit of concurrent requests."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from fastapi import Request, Response

from adapters.clock import new_id
from adapters.http.middleware.admission import (
    MAX_CONCURRENT_REQUESTS,
    METRICS_RESERVE,
    MIN_CONCURRENT_REQUESTS,
    AdmissionController,
)
from adapters.memory.unit_of_work import InMemoryStorage
from application.api_key_tokens import format_api_key, generate_secret
from tests.http.raw_connection import CHUNKED, GET, POST, listening
from tests.http.support import ADA, Api, bearer, check_problem, serving
from tests.support.polling import wait_until
from tests.support.principals import HookedStorage

CAPACITY = 2


@pytest.fixture
async def full() -> AsyncIterator[Api]:
    """An application with as many requests in progress as it accepts."""
    async with serving(admission=AdmissionController(CAPACITY)) as api, busy(api):
        yield api


@asynccontextmanager
async def busy(api: Api) -> AsyncIterator[None]:
    """Keep `CAPACITY` requests in progress during the block."""
    begun, done = asyncio.Semaphore(0), asyncio.Event()

    async def slow() -> Response:
        begun.release()
        await done.wait()
        return Response()

    path = f"/slow-{len(api.app.routes)}"
    api.app.add_api_route(path, slow)
    tasks = [asyncio.ensure_future(api.client.get(path)) for _ in range(CAPACITY)]
    for _ in tasks:
        await begun.acquire()
    try:
        yield
    finally:
        done.set()
        assert {response.status_code for response in await asyncio.gather(*tasks)} == {200}


async def test_request_beyond_capacity_returns_503(full: Api) -> None:
    for method in ("GET", "POST"):
        response = await full.client.request(method, "/api/v1/users", json=ADA)
        problem = check_problem(response, 503, "overloaded")
        assert response.headers["retry-after"] == "1"
        assert response.headers["x-content-type-options"] == "nosniff"
        assert "connection" not in response.headers
        assert (full.log[-1]["status"], full.log[-1]["request_id"]) == (503, problem["request_id"])
        assert list(problem) == ["type", "title", "status", "detail", "instance", "request_id"]
    assert (await full.client.head("/api/v1/users")).content == b""
    assert (await full.client.get("/docs")).status_code == 503


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/livez/"])
async def test_probe_beyond_capacity_returns_200(full: Api, path: str) -> None:
    assert (await full.client.get(path)).status_code == 200


async def test_finished_requests_release_their_slots() -> None:
    async def broken() -> Response:
        raise RuntimeError

    async with serving(admission=AdmissionController(CAPACITY)) as api:
        api.app.add_api_route("/broken", broken)
        for _ in range(CAPACITY + 1):
            assert (await api.client.get("/broken")).status_code == 500
            assert (await api.client.post("/api/v1/users", content=b"{")).status_code == 415
            assert (await api.client.post("/api/v1/users", content=b"x" * 100_000)).status_code == 413
        async with busy(api):
            check_problem(await api.client.get("/api/v1/users"), 503, "overloaded")
        await api.user()


async def test_incomplete_uploads_do_not_count_toward_limit() -> None:
    admission = AdmissionController(CAPACITY)
    async with listening(admission=admission) as wire:
        writers = [(await wire.open())[1] for _ in range(2 * CAPACITY + 1)]
        for number, writer in enumerate(writers, start=1):  # one by one: a new request counts until it waits
            writer.write(POST + b"Content-Length: 99\r\n\r\n{")
            await wait_until(lambda number=number: (len(wire.state.tasks), admission.active_requests) == (number, 0))  # type: ignore[misc]
        await wire.api.user()
        async with busy(wire.api):
            check_problem(await wire.api.client.get("/api/v1/users"), 503, "overloaded")
        for writer in writers:
            writer.close()
        await wait_until(lambda: not wire.state.tasks)
        async with busy(wire.api):
            check_problem(await wire.api.client.get("/api/v1/users"), 503, "overloaded")


@pytest.mark.parametrize(
    ("sent", "responses"),
    [
        (POST + b"Content-Length: 2\r\n\r\n{}" + GET + b"Connection: close\r\n\r\n", 2),
        (CHUNKED + b"2\r\n{}\r\n", 1),
    ],
    ids=["known length", "chunked"],
)
async def test_rejected_chunked_request_closes_the_connection(sent: bytes, responses: int) -> None:
    async with listening(admission=AdmissionController(CAPACITY)) as wire, busy(wire.api):
        answer = await wire.send_and_read(sent)
        assert answer.startswith(b"HTTP/1.1 503")
        assert answer.count(b"HTTP/1.1 ") == responses


async def test_metrics_requests_have_a_reserve_of_slots() -> None:
    released, reads = asyncio.Event(), []

    async def held_read() -> None:
        reads.append("/metrics")
        await released.wait()

    storage = HookedStorage(InMemoryStorage(), times=2 * METRICS_RESERVE)
    async with serving(storage, admission=AdmissionController(CAPACITY)) as api, busy(api):
        storage.before = held_read
        forged = [bearer(format_api_key(new_id(), generate_secret())) for _ in range(METRICS_RESERVE)]
        tasks = [asyncio.ensure_future(api.client.get("/metrics", headers=key)) for key in forged]
        await wait_until(lambda: len(reads) == METRICS_RESERVE)
        for path in ("/metrics", "/metrics/"):
            check_problem(await api.client.get(path), 503, "overloaded")
        assert (await api.client.get("/livez")).status_code == 200
        assert len(reads) == METRICS_RESERVE
        released.set()
        assert {response.status_code for response in await asyncio.gather(*tasks)} == {401}
        assert (await api.client.get("/metrics/")).status_code == 200
        check_problem(await api.client.get("/api/v1/users"), 503, "overloaded")


async def test_uploads_that_complete_at_once_are_limited() -> None:
    """A request takes its slot again when its body is complete."""
    admission, complete, done = AdmissionController(CAPACITY), asyncio.Event(), asyncio.Event()
    waiting: list[int] = []
    active: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        yield b"{"
        waiting.append(admission.active_requests)
        await complete.wait()
        yield b"}"

    async def keep(request: Request) -> Response:
        await request.body()
        active.append(admission.active_requests)
        await done.wait()
        return Response()

    async with serving(admission=admission) as api:
        api.app.add_api_route("/keep", keep, methods=["POST"])
        tasks = [asyncio.ensure_future(api.client.post("/keep", content=body())) for _ in range(5 * CAPACITY)]
        await wait_until(lambda: len(waiting) == len(tasks))
        assert set(waiting) == {0}
        complete.set()
        await wait_until(lambda: sum(task.done() for task in tasks) == len(tasks) - CAPACITY)
        assert active == [1, CAPACITY]
        for task in tasks:
            if task.done():
                response = await task
                check_problem(response, 503, "overloaded")
                assert response.headers["retry-after"] == "1"
                assert "connection" not in response.headers
        assert {(event["status"], event["route"]) for event in api.log} == {(503, "/keep")}
        done.set()
        responses = await asyncio.gather(*tasks)
        assert sum(response.status_code == 200 for response in responses) == CAPACITY
    assert admission.active_requests == 0


@dataclass
class SimulatedService:
    """A service that finishes one request at a time, with the arrivals of a load. `latencies` are in seconds."""

    seconds: float
    """The work of one request."""
    admission: AdmissionController = field(init=False)
    now: float = 0.0
    latencies: list[float] = field(default_factory=list)
    queue: deque[float] = field(default_factory=deque)
    rejected: int = 0

    def __post_init__(self) -> None:
        self.admission = AdmissionController(clock=lambda: self.now)

    @property
    def maximum(self) -> float:
        return self.admission._limit.maximum

    def run(self, rate: float, duration: float, *, pause: float = 0.0) -> None:
        """Send requests at a rate. First the service pauses for some seconds."""
        ends, next_end = self.now + duration, self.now + pause + self.seconds
        while self.now < ends:
            self.now += 1 / rate
            while self.queue and next_end <= self.now:
                self.latencies.append(next_end - self.queue.popleft())
                self.admission._limit.active_requests -= 1
                next_end += self.seconds
            if not self.queue:
                next_end = max(next_end, self.now + self.seconds)
            slot = self.admission.find_slot("/")
            if slot is None:
                self.rejected += 1
            else:
                slot.active_requests += 1
                self.queue.append(self.now)


def test_limit_adapts_to_the_latency_under_overload() -> None:
    service = SimulatedService(seconds=1 / 300)
    service.run(rate=100, duration=5)
    assert (service.maximum, service.rejected) == (MAX_CONCURRENT_REQUESTS, 0)
    service.run(rate=1500, duration=20)
    served = sorted(service.latencies[500:])
    assert len(served) > 0.95 * 20 * 300
    assert served[-1] < 1.0  # until the limit decreases, all slots are in use
    served = sorted(service.latencies[1000:])
    assert served[int(0.99 * len(served))] < 0.3
    assert served[len(served) // 2] < 0.15
    assert 20 < service.maximum < 50
    service.run(rate=100, duration=5)
    assert service.maximum == MAX_CONCURRENT_REQUESTS


def test_limit_does_not_adapt_to_short_pauses() -> None:
    service = SimulatedService(seconds=1 / 2400)
    for _ in range(20):
        service.run(rate=1440, duration=1, pause=0.15)
    assert (service.maximum, service.rejected) == (MAX_CONCURRENT_REQUESTS, 0)


def test_limit_does_not_adapt_to_fast_requests() -> None:
    service = SimulatedService(seconds=1 / 5000)
    service.run(rate=25_000, duration=3)
    assert service.maximum == MAX_CONCURRENT_REQUESTS


def test_limit_keeps_a_minimum_for_slow_requests() -> None:
    service = SimulatedService(seconds=0.2)
    service.run(rate=200, duration=60)
    assert MIN_CONCURRENT_REQUESTS <= service.maximum < 2 * MIN_CONCURRENT_REQUESTS


def test_limit_does_not_adapt_to_a_few_slow_requests() -> None:
    service = SimulatedService(seconds=0.5)
    for _ in range(20):
        service.run(rate=100, duration=0.3)  # 30 requests at once
        service.run(rate=0.01, duration=15)
    assert (service.maximum, service.rejected) == (MAX_CONCURRENT_REQUESTS, 0)


def test_limit_does_not_adapt_to_a_burst_before_a_pause() -> None:
    service = SimulatedService(seconds=0.001)
    for _ in range(20):
        service.run(rate=20_000, duration=0.005)
        service.run(rate=0.1, duration=10)
    assert (service.maximum, service.rejected) == (MAX_CONCURRENT_REQUESTS, 0)
