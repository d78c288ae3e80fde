"""Load shedding: how many requests are worked on at once. One more is refused, so that the others are in time."""

import json

from starlette.types import Scope, Send

from adapters.http.errors import problem_body
from adapters.http.problems import OVERLOADED

MOST_IN_WORK = 256
"""A machine that stands still for a moment is no overload: of 1,100 small requests a second, 64 come in 60 ms."""

NEVER_SHED = frozenset({"/livez", "/readyz", "/metrics"})
"""What has to be answered most of all when there is too much to do."""

_ID = "\0"
_HEAD, *_REST = json.dumps(problem_body(OVERLOADED, _ID), separators=(",", ":")).split(json.dumps(_ID)[1:-1])


_ADMITTED = "hexapost.admitted"


class Admission:
    """Counts the requests in work. One that waits for the rest of its body is in none."""

    __slots__ = ("_most", "in_work")

    def __init__(self, most: int = MOST_IN_WORK) -> None:
        self._most = most
        self.in_work = 0

    def admits(self, scope: Scope) -> bool:
        """Tell whether this request is taken, and count it if so; who asks again gets the same answer."""
        admitted: bool | None = scope.get(_ADMITTED)
        if admitted is None:
            admitted = self.in_work < self._most or scope["path"].rstrip("/") in NEVER_SHED
            scope[_ADMITTED] = admitted
            self.in_work += admitted
        return admitted


async def refuse(send: Send, request_id: str) -> None:
    """Answer that there is too much to do, with as little to do as possible."""
    body = request_id.join((_HEAD, *_REST)).encode("ascii")
    headers = [
        (b"content-length", str(len(body)).encode("ascii")),
        (b"content-type", b"application/problem+json"),
        (b"retry-after", str(OVERLOADED.retry_after).encode("ascii")),
    ]
    await send({"type": "http.response.start", "status": OVERLOADED.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
