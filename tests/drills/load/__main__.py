"""The load, a process of its own: reads a job in a line of JSON from stdin, writes a line for each attempt to stdout.

Without a rate the load is a closed loop: each client sends its next request when the last one is settled. With a rate
it is an open one: requests are due at random times (a Poisson process) whatever became of the earlier ones, and all
times count from when a request was due, so that a stall is seen by all that fall into it ("coordinated omission":
G. Tene, "How NOT to Measure Latency", 2015).
"""

import asyncio
import os
import random
import sys
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import uvloop

from tests.drills.load.exchange import ACKNOWLEDGED, CANCELLED, MISTAKEN, REFUSED, Answer, Connection
from tests.drills.load.jobs import Attempt, Job, Operation

TELL_SECONDS = 0.1
_ASK_AGAIN = {429}


class Load:
    """The clients at work."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._chance = random.Random(job.seed)  # noqa: S311 - the same times for the same seed
        self._queue: asyncio.Queue[tuple[float, Operation] | None] = asyncio.Queue()
        self._ended = False

    async def run(self) -> None:
        """Do the job."""
        if self._job.seconds:
            asyncio.get_running_loop().add_reader(sys.stdin, self._hear)
        telling = asyncio.create_task(_tell_for_ever())
        operations = self._operations()
        connections = [Connection(self._job.host, self._job.port) for _ in range(self._job.clients)]
        try:
            if self._job.connected:
                for connection in connections:
                    await connection.open()
            async with asyncio.TaskGroup() as group:
                for connection in connections:
                    is_open = self._job.rate is not None
                    group.create_task(self._work_off(connection) if is_open else self._work(connection, operations))
                if self._job.rate is not None:
                    await self._arrive(operations, self._job.rate)
        finally:
            for connection in connections:
                connection.close()
            telling.cancel()
            sys.stdout.flush()

    def _hear(self) -> None:
        """End when the stream of input does: whoever asked for the load needs no more of it."""
        if not os.read(sys.stdin.fileno(), 4096):
            self._ended = True
            asyncio.get_running_loop().remove_reader(sys.stdin)

    def _operations(self) -> Iterator[Operation]:
        if not self._job.seconds:
            yield from self._job.operations
            return
        end, number = monotonic() + self._job.seconds, self._job.first
        while not self._ended and monotonic() < end:
            yield self._chance.choice(self._job.operations).numbered(number)
            number += 1

    async def _arrive(self, operations: Iterator[Operation], rate: float) -> None:
        due = monotonic()
        for operation in operations:
            due += self._chance.expovariate(rate)
            await asyncio.sleep(max(0.0, due - monotonic()))
            self._queue.put_nowait((due, operation))
        for _ in range(self._job.clients):
            self._queue.put_nowait(None)

    async def _work_off(self, connection: Connection) -> None:
        while (item := await self._queue.get()) is not None:
            due, operation = item
            await self._settle(connection, operation, due)

    async def _work(self, connection: Connection, operations: Iterator[Operation]) -> None:
        for operation in operations:
            await self._settle(connection, operation, monotonic())

    async def _settle(self, connection: Connection, operation: Operation, due: float) -> None:
        request = operation.rendered(self._job.headers)
        number, is_last = 0, False
        while not is_last:
            number += 1
            sent = monotonic()
            answer = await self._answer(connection, operation, request)
            done = monotonic()
            is_last = not may_try_again(answer) or done - due > self._job.patience
            _tell(operation, answer, number=number, due=due, sent=sent, done=done, is_last=is_last)
            if not is_last:
                await asyncio.sleep(self._chance.uniform(*self._job.pauses))

    async def _answer(self, connection: Connection, operation: Operation, request: bytes) -> Answer:
        if operation.hangs_up_within:
            seconds = self._chance.uniform(0.0, operation.hangs_up_within)
            answer = await connection.exchange(request, seconds=seconds)
            return answer if answer.status else replace(answer, outcome=CANCELLED)
        answer = await connection.exchange(request, seconds=self._job.timeout)
        is_mistaken = answer.outcome == ACKNOWLEDGED and operation.expects not in answer.body
        return replace(answer, outcome=MISTAKEN) if is_mistaken else answer


def may_try_again(answer: Answer) -> bool:
    """Tell whether the same request could be acknowledged later, for all that the answer says."""
    if answer.outcome != REFUSED:
        return answer.outcome not in {ACKNOWLEDGED, CANCELLED, MISTAKEN}
    return answer.status >= 500 or answer.status in _ASK_AGAIN or "retry-after" in answer.headers


def _tell(
    operation: Operation, answer: Answer, *, number: int, due: float, sent: float, done: float, is_last: bool
) -> None:
    is_read = answer.outcome == ACKNOWLEDGED and operation.method == "GET"
    attempt = Attempt(
        operation=operation.name,
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
    sys.stdout.write(attempt.line())


async def _tell_for_ever() -> None:
    """Hand on what was told now and then: at each line it would cost more than the request."""
    while True:
        await asyncio.sleep(TELL_SECONDS)
        sys.stdout.flush()


def main() -> int:
    """Do the job on stdin."""
    job = Job.parsed(_first_line())
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(Load(job).run())
    except KeyboardInterrupt:
        return 130
    return 0


def _first_line() -> str:
    """Return a line of stdin, and leave nothing of the rest in a buffer."""
    with os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=65536) as stream:
        return stream.readline().decode()


if __name__ == "__main__":
    sys.exit(main())
