"""What is asked of the load, and what it tells: both pass between two processes as lines of JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Self

NUMBER = "{n}"
"""Stands for a number that no other operation has, in an operation's name, body, headers and what it expects."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """A request that is to be done once; one with a body is in JSON. The name is the drill's own.

    An answer of 2xx has to hold the words that it `expects`. A client that `hangs_up_within` some seconds waits for no
    answer longer than a random part of them.
    """

    name: str
    method: str
    path: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    expects: str = ""
    hangs_up_within: float = 0.0

    def numbered(self, number: int) -> Self:
        """Return the operation with a number in place of NUMBER."""
        if NUMBER not in self.name:
            return self
        text = str(number)
        headers = {name: value.replace(NUMBER, text) for name, value in self.headers.items()}
        name, body, expects = (whole.replace(NUMBER, text) for whole in (self.name, self.body, self.expects))
        return replace(self, name=name, body=body, expects=expects, headers=headers)

    def rendered(self, headers: Mapping[str, str]) -> bytes:
        """Return the request as HTTP/1.1 sends it, with these headers besides its own."""
        body = self.body.encode()
        always = {"Host": "drill"} | ({"Content-Type": "application/json"} if body else {})
        lengths = always | {"Content-Length": str(len(body))} | dict(headers) | dict(self.headers)
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in lengths.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be sent where, by how many clients, at that rate a second if any.

    With `seconds`, operations are drawn at random for that long or until the job's stream of input ends, and numbered
    from `first` on; without, each is done once. Each attempt may take `timeout` seconds. An operation that is not
    acknowledged is tried again for `patience` seconds, after a random pause between the two `pauses`, unless its answer
    says that this is no use; the pauses are not those of a polite client. `headers` go with every request. Clients that
    are `connected` are so before the first request is due.
    """

    host: str
    port: int
    clients: int
    operations: Sequence[Operation]
    rate: float | None = None
    seconds: float = 0.0
    first: int = 1
    connected: bool = False
    timeout: float = 30.0
    patience: float = 0.0
    pauses: tuple[float, float] = (0.001, 0.05)
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: str = ""

    def line(self) -> str:
        """Return the job as the process takes it."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def parsed(cls, line: str) -> Self:
        """Return the job that was written as a line."""
        values = json.loads(line)
        values["operations"] = [Operation(**operation) for operation in values["operations"]]
        return cls(**values)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One time that an operation was sent; times are of the system's monotonic clock, the same in every process.

    Headers and body are empty where the answer is what a reader asked for.
    """

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

    def line(self) -> str:
        """Return the attempt as the process tells it."""
        return json.dumps([getattr(self, name) for name in _ATTEMPT]) + "\n"

    @classmethod
    def parsed(cls, line: str) -> Self:
        """Return the attempt that was written as a line."""
        return cls(**dict(zip(_ATTEMPT, json.loads(line), strict=True)))


_ATTEMPT = tuple(one.name for one in fields(Attempt))
