"""Tests for the load generator of benchmarks, against a stub service that counts requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.load import Job, Load

JOB = Job(host="127.0.0.1", port=0, connections=3, seconds=0.1, status=200, requests=["GET / HTTP/1.1\r\n\r\n"])
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\ncontent-LENGTH: 5\r\n\r\nhello"


@dataclass(slots=True)
class Stub:
    """Response and request count of the service. An empty response closes the connection."""

    response: bytes = RESPONSE
    delay: float = 0.0
    asked: int = 0

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Send each response in two chunks."""
        try:
            while self.response and await reader.readuntil(b"\r\n\r\n"):
                self.asked += 1
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
