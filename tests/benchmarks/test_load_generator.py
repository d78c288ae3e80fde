"""Tests for the load generator of benchmarks, against a stub service that counts requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import pytest

from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.load import REPETITION, UNIQUE, Job, Load, repeated

JOB = Job(host="127.0.0.1", port=0, connections=3, seconds=0.1, requests=[("GET / HTTP/1.1\r\n\r\n", 200)])
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-LENGTH: 5\r\n\r\nhello"


@dataclass(slots=True)
class Stub:
    """Response and request count of the service. An empty response closes the connection."""

    response: bytes = RESPONSE
    delay: float = 0.0
    asked: int = 0
    requests: list[bytes] = field(default_factory=list)

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send each response in two chunks."""
        try:
            while self.response and (request := await reader.readuntil(b"\r\n\r\n")):
                self.asked += 1
                self.requests.append(request)
                await asyncio.sleep(self.delay)
                writer.write(self.response[:30])
                await asyncio.sleep(0.001)  # so that the client reads it before the rest
                writer.write(self.response[30:])
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def _serving(stub: Stub) -> AsyncIterator[Job]:
    server = await asyncio.start_server(stub.answer, "127.0.0.1", 0)
    async with server:
        yield replace(JOB, port=server.sockets[0].getsockname()[1])


async def test_closed_loop_counts_every_response() -> None:
    stub = Stub()
    async with _serving(stub) as job:
        outcome = await Load(job).run()

    assert outcome.completed == stub.asked > JOB.connections
    assert outcome.seconds >= JOB.seconds
    assert outcome.latencies == []


async def test_open_loop_sends_due_requests_and_times_each() -> None:
    stub = Stub()
    async with _serving(stub) as job:
        first = await Load(replace(job, rate=500.0, seed=7)).run()
        second = await Load(replace(job, rate=500.0, seed=7)).run()

    assert first.completed == second.completed == len(first.latencies)
    assert stub.asked == first.completed + second.completed


async def test_open_loop_counts_latency_from_the_due_time() -> None:
    stub = Stub(delay=0.02)
    async with _serving(stub) as job:
        outcome = await Load(replace(job, connections=1, rate=200.0)).run()

    # Each request waits for those before it, so the last one waits for nearly all.
    assert outcome.latencies[-1] > outcome.completed * stub.delay - job.seconds


@pytest.mark.parametrize("rate", [None, 500.0])
@pytest.mark.parametrize(
    ("response", "error"),
    [
        (RESPONSE.replace(b"200 OK", b"503 No"), "status 503 instead of 200"),
        (RESPONSE + b"!", "not HTTP"),
        (b"", "closed|reset|lost"),
    ],
    ids=["another status", "longer", "closed"],
)
async def test_load_generator_fails_for_a_wrong_response(response: bytes, error: str, rate: float | None) -> None:
    async with _serving(Stub(response=response)) as job:
        with pytest.raises((BenchmarkError, OSError), match=error):
            await Load(replace(job, rate=rate)).run()


def test_repeated_requests_have_numbers_and_unique_texts() -> None:
    requests = repeated([(f"A {REPETITION} {UNIQUE}", 200), ("B", 201)])
    (first, status), second, (third, _) = next(requests), next(requests), next(requests)
    assert (status, second) == (200, (b"B", 201))
    assert (first[:4], third[:4]) == (b"A 1 ", b"A 2 ")
    assert len(first) == len(third) == 4 + len(UNIQUE)
    assert first[4:] != third[4:]


async def test_connection_repeats_only_its_own_requests() -> None:
    texts = [
        f"{method} /{path} HTTP/1.1\r\nIf-Match: {REPETITION}\r\n\r\n"
        for method, path in (("GET", "a"), ("PATCH", "b"))
    ]
    stub = Stub()
    async with _serving(stub) as job:
        outcome = await Load(replace(job, connections=2, requests=[(text, 200) for text in texts])).run()

    for path in (b" /a ", b" /b "):
        sent = [request for request in stub.requests if path in request]
        assert [int(request.split()[-1]) for request in sent] == list(range(1, len(sent) + 1))
    assert 0 < outcome.written < outcome.completed
