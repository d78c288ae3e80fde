"""Load shedding: how many requests are worked on at once. One more is refused, so that the others are in time."""

import json
import math

from starlette.types import Scope, Send

from adapters.http.errors import problem_body
from adapters.http.problems import OVERLOADED

MOST_IN_WORK = 256
"""A machine that stands still for a moment is no overload: of 1,100 small requests a second, 64 come in 60 ms."""

PROBES = frozenset({"/livez", "/readyz"})
"""What has to be answered most of all when there is too much to do, and asks nobody."""

METRICS = "/metrics"
MORE_FOR_METRICS = 4
"""Requests for the metrics beside the others: they are needed when there is too much to do, but look up a key."""

_ID = "\0"
_HEAD, *_REST = json.dumps(problem_body(OVERLOADED, _ID), separators=(",", ":")).split(json.dumps(_ID)[1:-1])


_ROOM = "hexapost.room"


class Room:
    """Room for so many requests in work. One that waits for its client, to send or to read more, takes none."""

    __slots__ = ("in_work", "most")

    def __init__(self, most: float) -> None:
        self.most = most
        self.in_work = 0


class Admission(Room):
    """The room for all requests, and what there is beside it for those that tell how the service is."""

    __slots__ = ("_for_metrics", "_for_probes")

    def __init__(self, most: int = MOST_IN_WORK) -> None:
        super().__init__(most)
        self._for_metrics = Room(MORE_FOR_METRICS)
        self._for_probes = Room(math.inf)

    def room(self, scope: Scope) -> Room | None:
        """Return the room in which this request was counted, None if there is none; who asks again gets the same."""
        if _ROOM not in scope:
            scope[_ROOM] = self._enter(scope)
        found: Room | None = scope[_ROOM]
        return found

    def _enter(self, scope: Scope) -> Room | None:
        room: Room = self
        if room.in_work >= room.most:
            path = scope["path"].rstrip("/")
            if path in PROBES:
                room = self._for_probes
            elif path == METRICS:
                room = self._for_metrics
        if room.in_work >= room.most:
            return None
        room.in_work += 1
        return room


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
