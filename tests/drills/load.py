"""The load, a process of its own: reads a job in JSON from stdin, writes a line of JSON for each attempt to stdout.

Without a rate the load is a closed loop: each client sends its next request when the last one is settled. With a rate
it is an open one: requests are due at random times (a Poisson process) whatever became of the earlier ones, and all
times count from when a request was due, so that a stall is seen by all that fall into it ("coordinated omission":
G. Tene, "How NOT to Measure Latency", 2015).
"""

import asyncio
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from time import monotonic
from typing import Self

from tests.drills.exchange import ACKNOWLEDGED, REFUSED, Answer, Connection

PAUSES = (0.001, 0.05)
"""The shortest and the longest pause before a request is sent again: a drill does not wait as a polite client does."""
_ASK_AGAIN = {429}


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A request that is to be done once; one with a body is in JSON. The name is the drill's own."""

    name: str
    method: str
    path: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    def rendered(self, headers: Mapping[str, str]) -> bytes:
        """Return the request as HTTP/1.1 sends it, with these headers besides its own."""
        body = self.body.encode()
        always = {"Host": "drill"} | ({"Content-Type": "application/json"} if body else {})
        fields = always | {"Content-Length": str(len(body))} | dict(headers) | dict(self.headers)
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be sent where, by how many clients, at that rate a second if any.

    Each attempt may take `timeout` seconds. An operation that is not acknowledged is tried again for `patience`
    seconds, unless its answer says that this is no use. `headers` go with every request.
    """

    host: str
    port: int
    clients: int
    operations: Sequence[Operation]
    rate: float | None = None
    timeout: float = 30.0
    patience: float = 0.0
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: str = ""

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Return the job that `json.dumps(asdict(job))` wrote."""
        values = json.loads(text)
        values["operations"] = [Operation(**operation) for operation in values["operations"]]
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One time that an operation was sent; times are of the system's monotonic clock, the same in every process."""

    operation: str
    number: int
    due: float
    """When the first attempt was to be sent."""
    sent: float
    done: float
    outcome: str
    status: int
    headers: Mapping[str, str]
    body: str
    is_last: bool


class Load:
    """The clients at work."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._chance = random.Random(job.seed)  # noqa: S311 - the same times for the same seed
        self._queue: asyncio.Queue[tuple[float | None, Operation] | None] = asyncio.Queue()

    async def run(self) -> None:
        """Do the job."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._job.clients):
                group.create_task(self._work())
            due = monotonic()
            for operation in self._job.operations:
                if self._job.rate is not None:
                    due += self._chance.expovariate(self._job.rate)
                    await asyncio.sleep(max(0.0, due - monotonic()))
                self._queue.put_nowait((None if self._job.rate is None else due, operation))
            for _ in range(self._job.clients):
                self._queue.put_nowait(None)

    async def _work(self) -> None:
        connection = Connection(self._job.host, self._job.port)
        try:
            while (item := await self._queue.get()) is not None:
                due, operation = item
                await self._settle(connection, operation, monotonic() if due is None else due)
        finally:
            connection.close()

    async def _settle(self, connection: Connection, operation: Operation, due: float) -> None:
        request = operation.rendered(self._job.headers)
        number, is_last = 0, False
        while not is_last:
            number += 1
            sent = monotonic()
            answer = await connection.exchange(request, seconds=self._job.timeout)
            done = monotonic()
            is_last = not may_try_again(answer) or done - due > self._job.patience
            _tell(
                Attempt(
                    operation=operation.name,
                    number=number,
                    due=due,
                    sent=sent,
                    done=done,
                    is_last=is_last,
                    **asdict(answer),
                )
            )
            if not is_last:
                await asyncio.sleep(self._chance.uniform(*PAUSES))


def may_try_again(answer: Answer) -> bool:
    """Tell whether the same request could be acknowledged later, for all that the answer says."""
    if answer.outcome != REFUSED:
        return answer.outcome != ACKNOWLEDGED
    return answer.status >= 500 or answer.status in _ASK_AGAIN or "retry-after" in answer.headers


def _tell(attempt: Attempt) -> None:
    sys.stdout.write(json.dumps(asdict(attempt)) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Do the job on stdin."""
    job = Job.parsed(sys.stdin.read())
    try:
        asyncio.run(Load(job).run())
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
