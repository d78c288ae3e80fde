"""Load generator process: reads a pickled job from stdin, writes pickled lists of attempts to stdout.

Without a rate, the load is a closed loop: each client sends its next request after the last response. With a rate, it
is an open loop: requests are due at random times (a Poisson process), and latency counts from the due time. A stall
therefore delays all requests that are due in it ("coordinated omission": G. Tene, "How NOT to Measure Latency", 2015).
"""

import asyncio
import gc
import os
import pickle
import random
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from time import monotonic

import uvloop

from tests.drills.load.http_connection import ACKNOWLEDGED, CANCELLED, MISMATCHED, REFUSED, Connection, Response
from tests.drills.load.load_job import Attempt, LoadJob, RequestSpec

WRITE_SECONDS = 0.1
"""The interval at which attempts are written. To write each of them would cost more than the request."""


class Load:
    def __init__(self, job: LoadJob) -> None:
        self._job = job
        self._chance = random.Random(job.seed)  # noqa: S311 - the same times for the same seed
        self._queue: asyncio.Queue[tuple[float, RequestSpec] | None] = asyncio.Queue()
        self._operations = self._draw()
        self._ended = False
        self._attempts: list[Attempt] = []

    async def run(self) -> None:
        """Execute the job. With `seconds`, the end of stdin ends it earlier."""
        if self._job.seconds:
            asyncio.get_running_loop().add_reader(sys.stdin, self._stop_at_end_of_stdin)
        writing = asyncio.create_task(self._write_for_ever())
        connections = [Connection(self._job.host, self._job.port) for _ in range(self._job.clients)]
        try:
            if self._job.connected:
                for connection in connections:
                    await connection.connect()
            async with asyncio.TaskGroup() as group:
                for connection in connections:
                    group.create_task(self._work(connection))
                if self._job.rate is not None:
                    await self._arrive(self._job.rate)
        finally:
            for connection in connections:
                connection.close()
            writing.cancel()
            self._write_attempts()

    def _stop_at_end_of_stdin(self) -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            self._ended = True
            asyncio.get_running_loop().remove_reader(sys.stdin)

    def _draw(self) -> Iterator[RequestSpec]:
        if not self._job.seconds:
            yield from self._job.operations
            return
        end, number = monotonic() + self._job.seconds, self._job.first
        while not self._ended and monotonic() < end:
            yield self._chance.choice(self._job.operations).numbered(number)
            number += 1

    async def _arrive(self, rate: float) -> None:
        due = monotonic()
        for operation in self._operations:
            due += self._chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - monotonic()))
            self._queue.put_nowait((due, operation))
        for _ in range(self._job.clients):
            self._queue.put_nowait(None)

    async def _work(self, connection: Connection) -> None:
        while (item := await self._next()) is not None:
            due, operation = item
            await self._settle(connection, operation, due)

    async def _next(self) -> tuple[float, RequestSpec] | None:
        """Return the next request and its due time, or None at the end of the load."""
        if self._job.rate is not None:
            return await self._queue.get()
        operation = next(self._operations, None)
        return None if operation is None else (monotonic(), operation)

    async def _settle(self, connection: Connection, operation: RequestSpec, due: float) -> None:
        request = operation.rendered(self._job.headers)
        number, is_last = 0, False
        while not is_last:
            number += 1
            sent = monotonic()
            answer = await self._answer(connection, operation, request)
            done = monotonic()
            is_last = not may_try_again(answer) or done - due > self._job.retry_seconds
            is_read = answer.outcome == ACKNOWLEDGED and operation.method == "GET"
            attempt = Attempt(
                operation=operation.name,
                kind=operation.kind,
                number=number,
                due=due,
                sent=sent,
                done=done,
                outcome=answer.outcome,
                status=answer.status,
                headers={} if is_read else answer.headers,
                body="" if is_read else answer.body,
                is_last=is_last,
            )
            self._attempts.append(attempt)
            if not is_last:
                await asyncio.sleep(self._chance.uniform(*self._job.pauses))

    async def _write_for_ever(self) -> None:
        while True:
            await asyncio.sleep(WRITE_SECONDS)
            self._write_attempts()

    def _write_attempts(self) -> None:
        written, self._attempts = self._attempts, []
        pickle.dump(written, sys.stdout.buffer)
        sys.stdout.buffer.flush()

    async def _answer(self, connection: Connection, operation: RequestSpec, request: bytes) -> Response:
        if operation.disconnect_within:
            seconds = self._chance.uniform(0.0, operation.disconnect_within)
            answer = await connection.exchange(request, seconds=seconds)
            return answer if answer.status else replace(answer, outcome=CANCELLED)
        answer = await connection.exchange(request, seconds=self._job.timeout)
        is_mistaken = answer.outcome == ACKNOWLEDGED and operation.expects not in answer.body
        return replace(answer, outcome=MISMATCHED) if is_mistaken else answer


def may_try_again(answer: Response) -> bool:
    """Return True if a retry of the request may succeed."""
    if answer.outcome != REFUSED:
        return answer.outcome not in {ACKNOWLEDGED, CANCELLED, MISMATCHED}
    return answer.status >= 500 or answer.status == 429 or "retry-after" in answer.headers


if __name__ == "__main__":
    gc.disable()  # a collection would pause the load
    with suppress(KeyboardInterrupt), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Load(pickle.load(sys.stdin.buffer)).run())  # noqa: S301 - from our own process
