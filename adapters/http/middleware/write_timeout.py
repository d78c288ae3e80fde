"""The time limit of a client that does not read its response."""

import asyncio


class WriteTimeoutMonitor:
    """Aborts a connection whose client reads nothing for the given time.

    It checks the write buffer twice in that time, so that one timer serves all responses of the connection. `is_lost`
    is True after the connection was lost.
    """

    __slots__ = ("_interval", "_loop", "_timer", "_transport", "_unread_bytes", "is_lost")

    def __init__(self, loop: asyncio.AbstractEventLoop, transport: asyncio.WriteTransport, seconds: float) -> None:
        self._loop = loop
        self._transport = transport
        self._interval = seconds / 2
        self._unread_bytes = 0
        self.is_lost = False
        self._timer = loop.call_later(self._interval, self._check)

    def _check(self) -> None:
        unread = self._transport.get_write_buffer_size()
        if unread and unread == self._unread_bytes:
            self._transport.abort()
            return
        self._unread_bytes = unread
        self._timer = self._loop.call_later(self._interval, self._check)

    def connection_lost(self) -> None:
        """Stop the monitor, because the connection was lost."""
        self.is_lost = True
        self._timer.cancel()
