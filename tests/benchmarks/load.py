"""The load generator, a separate process: reads a job as JSON from stdin, and writes the result to stdout.

Without a rate the load is a closed loop: every connection sends its next request as soon as it has the response to the
last, which saturates the service. With a rate it is an open one: requests are due at random times (a Poisson process)
whether or not earlier ones have a response, and latency counts from when a request was due, so that a stall delays all
requests that are due in it ("coordinated omission": G. Tene, "How NOT to Measure Latency", 2015).
"""

import asyncio
import itertools
import json
import random
import selectors
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from time import perf_counter, process_time
from typing import cast
from uuid import uuid4

import uvloop
from httptools import HttpParserError, HttpResponseParser
from typing_extensions import override

from tests.benchmarks.errors import BenchmarkError

GRACE_SECONDS = 30
REPETITION = "{repetition}"
"""Placeholder in the headers of a request: 1 when it is sent for the first time, then 2, and so on."""
UNIQUE = "unique".center(32, "_")
"""Placeholder in a request: 32 characters that differ each time. The length of the body stays the same."""
_REPETITION, _UNIQUE = REPETITION.encode(), UNIQUE.encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The requests with the statuses of correct responses, target, number of connections and duration.

    Each connection repeats its own part of the requests, so that a request follows the response to its last repetition.
    With `rate`, the load is an open loop at this rate.
    """

    host: str
    port: int
    connections: int
    seconds: float
    requests: list[tuple[str, int]]
    rate: float | None = None
    seed: int = 0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Result of a job. An open loop has `latencies`, in seconds. `cpu_seconds` is the CPU time of the generator.

    `written` is the number of completed requests that are not GET.
    """

    completed: int = 0
    written: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """A connection that carries one request at a time, with its due time and the status of a correct response."""

    def __init__(self, load: "Load", requests: Iterator[tuple[bytes, int]]) -> None:
        self._load = load
        self._requests = requests
        self._parser = HttpResponseParser(self)
        self.request, self.status, self.due = b"", 0, 0.0

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def send(self, due: float) -> None:
        """Send the next request."""
        self.due = due
        self.request, self.status = next(self._requests)
        self.transport.write(self.request)

    @override
    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._load.fail(BenchmarkError(f"the response is not HTTP: {error}"))

    def on_message_complete(self) -> None:
        self._load.finish_request(self, self._parser.get_status_code())

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._load.fail(exc or BenchmarkError("the service closed a connection"))


class Load:
    """The open connections of a job."""

    _ended: asyncio.Future[None]

    def __init__(self, job: Job) -> None:
        self._job = job
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._is_last = False
        self._until = 0.0
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Execute the job. Raises BenchmarkError for a wrong response or a broken connection."""
        loop, job = asyncio.get_running_loop(), self._job
        self._ended = loop.create_future()
        connections: list[Connection] = []
        try:
            for number in range(job.connections):
                requests = repeated(job.requests[number :: job.connections] or job.requests)
                _, connection = await loop.create_connection(partial(Connection, self, requests), job.host, job.port)
                connections.append(connection)
            self._idle += connections
            started, cpu = perf_counter(), process_time()
            self._until = started + job.seconds
            async with asyncio.timeout(job.seconds + GRACE_SECONDS):
                if job.rate is not None:
                    await self._arrive(started, job.rate)
                self._is_last = True
                self._send_due_requests()
                await self._ended
            self.outcome.seconds, self.outcome.cpu_seconds = perf_counter() - started, process_time() - cpu
        finally:
            self._ended.cancel()
            for one in connections:
                one.transport.abort()
            await asyncio.sleep(0)  # for the loop to close the sockets
        return self.outcome

    async def _arrive(self, started: float, rate: float) -> None:
        chance = random.Random(self._job.seed)  # noqa: S311 - the same times for every service
        due = started + chance.expovariate(rate)
        while due < self._until and not self._ended.done():
            await asyncio.sleep(max(0.0, due - perf_counter()))
            self._waiting.append(due)
            self._send_due_requests()
            due += chance.expovariate(rate)

    def _send_due_requests(self) -> None:
        """Send requests over the idle connections, and end the load after the last response."""
        while self._idle and (due := self._next_due()):
            self._idle.pop().send(due)
        if self._is_last and len(self._idle) == self._job.connections and not self._ended.done():
            self._ended.set_result(None)

    def _next_due(self) -> float | None:
        if self._job.rate is not None:
            return self._waiting.popleft() if self._waiting else None
        now = perf_counter()
        return now if now < self._until else None

    def finish_request(self, connection: Connection, status: int) -> None:
        self.outcome.completed += 1
        self.outcome.written += not connection.request.startswith(b"GET")
        if status != connection.status:
            self.fail(BenchmarkError(f"status {status} instead of {connection.status}"))
        if self._job.rate is not None:
            self.outcome.latencies.append(perf_counter() - connection.due)
        self._idle.append(connection)
        self._send_due_requests()

    def fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)


def repeated(requests: Sequence[tuple[str, int]]) -> Iterator[tuple[bytes, int]]:
    """Yield the requests repeatedly, with their placeholders replaced."""
    encoded = [(request.encode(), status) for request, status in requests]
    for repetition in itertools.count(1):
        for request, status in encoded:
            unique = request.replace(_UNIQUE, uuid4().hex.encode()) if _UNIQUE in request else request
            yield unique.replace(_REPETITION, b"%d" % repetition), status


def new_loop(*, open_: bool) -> asyncio.AbstractEventLoop:
    """Return the fastest loop for a closed one; for an open one that whose timers have more than milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector()) if open_ else uvloop.new_event_loop()


def main() -> int:
    job = Job(**json.load(sys.stdin))
    try:
        with asyncio.Runner(loop_factory=lambda: new_loop(open_=job.rate is not None)) as runner:
            outcome = runner.run(Load(job).run())
    except (BenchmarkError, OSError, TimeoutError) as error:
        sys.stderr.write(f"{str(error) or 'the service does not respond in time'}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    json.dump(asdict(outcome), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
