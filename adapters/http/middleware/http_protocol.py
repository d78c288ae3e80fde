"""HTTP/1.1 connections: uvicorn's httptools protocol with limits, and with correct handling of upgrade requests.

uvicorn accepts a request line and headers of 500 kB, waits for them forever, and has no setting for either. It has no
public hook at this place, so this module subclasses its protocol. pyproject.toml limits the versions of uvicorn and
httptools, and tests/http/test_uvicorn_interface.py names what a later version changes.

A request that cannot be parsed becomes a rejected request. It passes through the application in its order, so that its
response is a problem document with a request ID, and the access log contains it. Then the connection is closed.

A client can request an upgrade with any request: Java's HttpClient and `curl --http2` send `Upgrade: h2c`. A server
that does not support the protocol ignores the header (RFC 9110 section 7.8). The parser stops after such a request and
loses its body and all later requests, so this module parses the request again without the header.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import httptools
from starlette.types import Message
from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from adapters.http.middleware.request_context import RequestContext
from adapters.http.middleware.request_limits import HeaderLimits, WriteTimeoutMonitor
from adapters.http.problems.catalog import MALFORMED_REQUEST, REQUEST_TIMEOUT
from adapters.http.problems.responses import ProblemError

IDLE_DRAIN_SECONDS = 2.0
"""How long an idle connection stays open during a shutdown: a request may be in transit."""

BODY_DRAIN_SECONDS = 2.0
"""The time limit of the rest of a body during a shutdown."""

MAX_LINGER_SECONDS = 10.0
MAX_LINGER_BYTES = 64 * 1024 * 1024
"""The limits of data that is discarded after a response, until the client reads the response and disconnects."""

WRITE_TIMEOUT_SECONDS = 20.0
"""The time limit of a client that does not read its response."""


_FIELD_OCTETS = bytes([ord("\t"), *range(0x20, 0x7F), *range(0x80, 0x100)])
"""The octets of header fields (RFC 9110 section 5.5)."""


def bounded_protocol(
    limits: HeaderLimits, *, write_timeout: float = WRITE_TIMEOUT_SECONDS
) -> type["BoundedHttpProtocol"]:
    """Return the protocol class with these limits. uvicorn creates one instance per connection."""
    members = {"limits": limits, "write_timeout": write_timeout}
    return type("ConfiguredHttpProtocol", (BoundedHttpProtocol,), members)


@dataclass(slots=True)
class TransportMethods:
    """The methods of a transport that uvicorn uses. The protocol replaces `close`."""

    write: Callable[[bytes], None]
    is_closing: Callable[[], bool]
    close: Callable[[], None]


class BoundedHttpProtocol(HttpToolsProtocol):
    """Enforces limits, rejects malformed requests, ignores upgrade requests, and closes connections with care."""

    transport: TransportMethods  # type: ignore[assignment]

    limits = HeaderLimits()
    write_timeout = WRITE_TIMEOUT_SECONDS

    _is_upgrade_request = False
    _is_rejected = False
    _is_draining = False
    _in_headers = False
    _in_body = False
    _chunk_bytes = 0  # size of the last received data
    _unread_bytes = 0  # upper bound of the data that the parser buffers
    _timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._transport = transport
        self.transport = TransportMethods(transport.write, transport.is_closing, self._close)
        self._write_monitor = WriteTimeoutMonitor(self.loop, transport, self.write_timeout)
        self._start_header_timer()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self._write_monitor.connection_lost()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    @override
    def eof_received(self) -> bool:  # type: ignore[override]
        """Respond to complete requests. The client can close its direction only, as with shutdown(SHUT_WR)."""
        cycle: RequestResponseCycle | None = self.cycle
        is_incomplete = self._in_body and not (self._is_rejected or self.pipeline)
        if cycle is None or cycle.response_complete or is_incomplete:
            return False
        cycle.keep_alive = False
        self.transport.close = self._transport.close  # all data was received
        return True

    def _close(self) -> None:
        """Close the connection. If the client is still sending, discard its data until it closes the connection.

        Unread data would make the kernel reset the connection, and the client could lose the response. nginx does the
        same (`lingering_close`).
        """
        self.transport.close = self._transport.close
        if self._transport.is_closing() or not (self._in_headers or self._in_body or self._is_rejected):
            self._transport.close()
            return
        self._is_rejected = True
        self._unread_bytes = 0
        self._stop_timer()
        self.transport.is_closing = lambda: True
        self._transport.write_eof()
        self.flow.resume_reading()
        seconds = BODY_DRAIN_SECONDS if self._is_draining else MAX_LINGER_SECONDS
        self._timer = self.loop.call_later(seconds, self._transport.close)

    @override
    def data_received(self, data: bytes) -> None:
        if self._is_rejected:
            self._unread_bytes += len(data)
            if self._unread_bytes > MAX_LINGER_BYTES:
                self._transport.close()
            return
        if not (self._in_headers or self._in_body):
            self._unread_bytes = 0
        self._chunk_bytes = len(data)
        self._unread_bytes += self._chunk_bytes
        rest = self._parse(data)
        while rest is not None:  # a loop, because one chunk can contain many upgrade requests
            rest = self._reparse_without_upgrade(rest)
        if self._in_headers or self._in_body:
            self._check_unread_bytes()

    def _parse(self, data: bytes) -> bytes | None:
        """Parse data. Return the rest after an upgrade request."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._reject(cause if isinstance(cause, ProblemError) else ProblemError(MALFORMED_REQUEST))
        return None

    def _check_unread_bytes(self) -> None:
        if self._is_rejected:
            return
        if self._unread_bytes > self.limits.max_header_bytes:
            self._reject(self.limits.too_large())
        elif self._in_headers and self._timer is None:
            self._start_header_timer()

    @override
    def on_message_begin(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._in_headers = True
        super().on_message_begin()
        context = self.scope["state"]["request_context"] = RequestContext()
        context.write_monitor = self._write_monitor

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value.rstrip(b" \t"))  # not a part of the value (RFC 9110 section 5.5)

    @override
    def on_headers_complete(self) -> None:
        """Start the request. Raises ProblemError to reject it."""
        method = self.parser.get_method()
        self._is_upgrade_request = self.parser.should_upgrade() and method != b"CONNECT"
        if self._is_upgrade_request:
            return
        if self._unread_bytes > self.limits.max_header_bytes or self._chunk_bytes > self.limits.max_header_bytes:
            self.limits.validate_size(self.url, self.headers)
        self.limits.validate(self.parser.get_http_version(), method, self.headers)
        super().on_headers_complete()
        self.scope["state"]["request_context"].write_response = partial(self._write_response, self.cycle)
        if self._timer is not None:
            self._stop_timer()
        self._in_headers, self._in_body = False, True
        self._unread_bytes = 0
        self.headers = []  # collects trailers, which are ignored
        if self._is_draining:
            self._close_after_request()

    def _write_response(self, cycle: RequestResponseCycle, start: Message, message: Message) -> bool:
        """Write a complete response at once, as uvicorn would write it. Return False if it is not an ordinary one."""
        headers, body = start["headers"], message["body"]
        names = dict(headers)
        is_ordinary = (
            names.get(b"content-length") == b"%d" % len(body)
            and not (b"connection" in names or b"transfer-encoding" in names)
            and not (cycle.response_started or cycle.disconnected or self.flow.write_paused)
            and cycle.keep_alive
            and cycle.scope["method"] != "HEAD"
        )
        lines = [b": ".join(header) for header in (*cycle.default_headers, *headers)]
        head = b"\r\n".join(lines)
        if not is_ordinary or head.translate(None, _FIELD_OCTETS) != b"\r\n" * (len(lines) - 1):
            return False
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        self.transport.write(b"%b%b\r\n\r\n%b" % (STATUS_LINE[start["status"]], head, body))
        cycle.message_event.set()
        cycle.on_response()
        return True

    @override
    def on_body(self, body: bytes) -> None:
        self._unread_bytes = 0
        super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        if not self._is_upgrade_request:
            self._in_body = False
            super().on_message_complete()

    def _reparse_without_upgrade(self, rest: bytes) -> bytes | None:
        """Parse the last headers without the upgrade, then the rest. Return the rest after the next upgrade request."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name not in {b"upgrade", b"http2-settings"}]
        self._is_upgrade_request = self._in_headers = False
        self.parser = httptools.HttpRequestParser(self)
        self._parse(b"\r\n".join(lines) + b"\r\n\r\n")
        return None if self._is_rejected else self._parse(rest)

    def _start_header_timer(self) -> None:
        self._timer = self.loop.call_later(self.limits.timeout, self._header_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _header_timeout(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._start_header_timer()  # the previous request is still in progress
        elif self._in_headers:
            self._reject(ProblemError(REQUEST_TIMEOUT))
        else:
            self.transport.close()

    @override
    def shutdown(self) -> None:
        """Close the connection after the request in progress, or after the next one if it arrives soon.

        A client that does not complete its headers or body does not delay the shutdown.
        """
        if self._is_draining:
            return
        self._is_draining = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.loop.call_later(IDLE_DRAIN_SECONDS, self._close_if_idle)
        else:
            self._close_after_request()

    def _close_after_request(self) -> None:
        self.cycle.keep_alive = False
        if self._in_body:
            self._timer = self.loop.call_later(BODY_DRAIN_SECONDS, self._body_timeout)

    def _close_if_idle(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if self.transport.is_closing():
            self._transport.close()  # ends a lingering close
        elif cycle is None or cycle.response_complete:
            self._header_timeout()

    def _body_timeout(self) -> None:
        if self._in_body:
            self._reject(ProblemError(REQUEST_TIMEOUT))

    def _reject(self, error: ProblemError) -> None:
        """Respond with a problem to the request that is being received, and ignore further data."""
        self._is_rejected = True
        self._stop_timer()
        cycle = self.cycle
        if not self._in_body:
            self._start_rejected_request(error)
        elif cycle.response_complete:
            self.transport.close()
        else:
            cycle.keep_alive = False
            cycle.scope["state"]["request_context"].rejection = error
            cycle.message_event.set()

    def _start_rejected_request(self, error: ProblemError) -> None:
        if not self._in_headers:
            self.on_message_begin()
        self.scope["state"]["request_context"].rejection = error
        has_request_line = bool(self.url)
        self.url, self.expect_100_continue = b"/", False
        super().on_headers_complete()
        self.cycle.keep_alive = False
        if not has_request_line:
            self.scope["method"] = ""
