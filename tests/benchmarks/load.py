"""The load generator, a separate process: reads a job as JSON from stdin, and writes the result to stdout.

Without a rate the load is a closed loop: every connection sends its next request as soon as it has the answer to the
last, which saturates the service. With a rate it is an open one: requests are due at random times (a Poisson process)
whether or not earlier ones were answered, and latency counts from when a request was due, so that a stall is seen by
all that fall into it ("coordinated omission": G. Tene, "How NOT to Measure Latency", 2015).
"""

import asyncio
import itertools
import json
import random
import selectors
import sys
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from time import perf_counter, process_time

import uvloop

from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.http_client import Connection

GRACE_SECONDS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The requests, target, number of connections and duration. With `rate`, an open loop at this rate."""

    host: str
    port: int
    connections: int
    seconds: float
    status: int
    requests: list[str]
    rate: float | None = None
    seed: int = 0


@dataclass(slots=True, kw_only=True)
class Outcome:
    """Result of a job. An open loop has `latencies`, in seconds. `cpu_seconds` is the CPU time of the generator."""

    completed: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)


class Load:
    """The open connections of a job."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._requests: Iterator[bytes] = itertools.cycle([request.encode() for request in job.requests])
        self._everyone: list[Connection] = []
        self._idle: list[Connection] = []
        self._waiting: deque[float] = deque()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_last = False
        self._until = 0.0
        self.outcome = Outcome()

    async def run(self) -> Outcome:
        """Do the job. Raises BenchmarkError for a wrong response or a broken connection."""
        loop, job = asyncio.get_running_loop(), self._job
        answered = self._next_at_once if job.rate is None else self._next_when_due
        try:
            for _ in range(job.connections):
                _, one = await loop.create_connection(lambda: Connection(answered, self._fail), job.host, job.port)
                self._everyone.append(one)
            self._idle += self._everyone
            started, cpu = perf_counter(), process_time()
            async with asyncio.timeout(job.seconds + GRACE_SECONDS):
                await (self._saturate(started) if job.rate is None else self._arrive(started, job.rate))
            self.outcome.seconds, self.outcome.cpu_seconds = perf_counter() - started, process_time() - cpu
        finally:
            self._ended.cancel()
            for one in self._everyone:
                one.close()
            await asyncio.sleep(0)  # for the loop to close the sockets
        return self.outcome

    async def _saturate(self, started: float) -> None:
        self._until = started + self._job.seconds
        busy, self._idle = self._idle, []
        for one in busy:
            one.send(next(self._requests), 0.0)
        await self._ended

    async def _arrive(self, started: float, rate: float) -> None:
        chance = random.Random(self._job.seed)  # noqa: S311 - the same times for every service
        due, end = started + chance.expovariate(rate), started + self._job.seconds
        while due < end and not self._ended.done():
            await asyncio.sleep(max(0.0, due - perf_counter()))
            if self._idle:
                self._idle.pop().send(next(self._requests), due)
            else:
                self._waiting.append(due)
            due += chance.expovariate(rate)
        self._is_last = True
        self._end_when_idle()
        await self._ended

    def _next_at_once(self, connection: Connection, status: int) -> None:
        self._count(status)
        if perf_counter() < self._until:
            connection.send(next(self._requests), 0.0)
        else:
            self._idle.append(connection)
            self._end_when_idle()

    def _next_when_due(self, connection: Connection, status: int) -> None:
        self._count(status)
        self.outcome.latencies.append(perf_counter() - connection.due)
        if self._waiting:
            connection.send(next(self._requests), self._waiting.popleft())
            return
        self._idle.append(connection)
        if self._is_last:
            self._end_when_idle()

    def _count(self, status: int) -> None:
        self.outcome.completed += 1
        if status != self._job.status:
            self._fail(BenchmarkError(f"status {status} instead of {self._job.status}"))

    def _end_when_idle(self) -> None:
        if len(self._idle) == self._job.connections and not self._ended.done():
            self._ended.set_result(None)

    def _fail(self, error: BaseException) -> None:
        if not self._ended.done():
            self._ended.set_exception(error)


def new_loop(*, open_: bool) -> asyncio.AbstractEventLoop:
    """Return the fastest loop for a closed one; for an open one that whose timers have more than milliseconds."""
    return asyncio.SelectorEventLoop(selectors.SelectSelector()) if open_ else uvloop.new_event_loop()


async def _run(job: Job) -> Outcome:
    return await Load(job).run()


def main() -> int:
    """Do the job on stdin."""
    job = Job(**json.load(sys.stdin))
    try:
        with asyncio.Runner(loop_factory=lambda: new_loop(open_=job.rate is not None)) as runner:
            outcome = runner.run(_run(job))
    except (BenchmarkError, OSError, TimeoutError) as error:
        sys.stderr.write(f"{str(error) or 'the service does not respond in time'}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    json.dump(asdict(outcome), sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
