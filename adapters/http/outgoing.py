"""Responses on their way out."""

import asyncio

OUTGOING = "hexapost.outgoing"
"""The key of the ASGI scope under which the `Outgoing` of the connection is."""


class Outgoing:
    """What waits on a connection for its client to read it: the connection is broken off when nothing of it is read.

    That is looked at twice in the time that a client has, which is at least half of it; one timer serves all responses,
    because almost none of them waits. `is_lost` when the connection is gone.
    """

    __slots__ = ("_left", "_loop", "_pause", "_timer", "_transport", "is_lost")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport, seconds: float) -> None:
        self._loop = loop
        self._transport = transport
        self._pause = seconds / 2
        self._left = 0
        self.is_lost = False
        self._timer = loop.call_later(self._pause, self._look)

    def _look(self) -> None:
        left = self._transport.get_write_buffer_size()
        if left and left == self._left:
            self._transport.abort()
            return
        self._left = left
        self._timer = self._loop.call_later(self._pause, self._look)

    def end(self) -> None:
        """Look no more: the connection is gone."""
        self.is_lost = True
        self._timer.cancel()
