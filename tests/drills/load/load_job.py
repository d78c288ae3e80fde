"""Input and output of the load generator, pickled between two processes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

from tests.drills.load.http_connection import Response

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
NUMBER = "{n}"
"""Placeholder for a unique number in the name, body, headers and `expects` of an operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestSpec:
    """A request to execute once, with a JSON body or none. A 2xx response must contain the text `expects`.

    With `disconnect_within`, the client disconnects after a random part of these seconds.
    """

    name: str = ""
    method: str
    path: str
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    expects: str = ""
    disconnect_within: float = 0.0

    @property
    def kind(self) -> str:
        """The method, and the path without ids."""
        return f"{self.method} {_UUID.sub('', self.path)}"

    def numbered(self, number: int) -> Self:
        """Return the operation with the number in place of NUMBER."""
        if NUMBER not in self.name:
            return self
        text = str(number)
        headers = {name: value.replace(NUMBER, text) for name, value in self.headers.items()}
        name, body, expects = (whole.replace(NUMBER, text) for whole in (self.name, self.body, self.expects))
        return replace(self, name=name, body=body, expects=expects, headers=headers)

    def rendered(self, headers: Mapping[str, str]) -> bytes:
        """Return the HTTP/1.1 request with these headers and its own."""
        body = self.body.encode()
        content = {"Content-Type": "application/json", "Content-Length": str(len(body))} if body else {}
        fields = {"Host": "drill", **content, **headers, **self.headers}
        lines = [f"{self.method} {self.path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
        return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadJob:
    """Requests, target and number of clients. With `rate`, requests arrive at that rate per second.

    With `seconds`, operations are drawn at random for that time, and numbered from `first`. Otherwise each is executed
    once. An attempt takes at most `timeout` seconds. An operation is retried for `retry_seconds` seconds after a random
    pause between the two `pauses`, unless the response excludes success. `headers` are added to every request. With
    `connected`, all clients connect before the first request.
    """

    host: str
    port: int
    clients: int
    operations: Sequence[RequestSpec]
    rate: float | None = None
    seconds: float = 0.0
    first: int = 1
    connected: bool = False
    timeout: float = 30.0
    retry_seconds: float = 0.0
    pauses: tuple[float, float] = (0.001, 0.05)
    headers: Mapping[str, str] = field(default_factory=dict)
    seed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt(Response):
    """One attempt at an operation. Times are of the monotonic clock, which all processes share.

    `due` is when the first attempt was due. `headers` and `body` are empty after a successful GET.
    """

    operation: str
    kind: str
    number: int
    due: float
    sent: float
    done: float
    is_last: bool
