"""HTTP/1.1 on the wire: uvicorn's protocol, with bounds, and made to ignore offers of other protocols.

A request that cannot be read becomes one that is refused: it goes the way of every other, in its turn, so that its
answer is a problem document with a request id and stands in the access log. Then the connection ends.

A client may offer to upgrade with any request, as Java's HttpClient and `curl --http2` do with `Upgrade: h2c`, and a
server that does not know the protocol ignores the offer (RFC 9110 section 7.8). The parser stops after such a request,
and its body and the requests after it would be lost.
"""

import asyncio
from contextlib import suppress
from typing import Any, cast

import httptools
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from adapters.http.admission import Admission
from adapters.http.errors import REFUSAL, ProblemError
from adapters.http.heads import check_head, check_size
from adapters.http.limits import HeadLimits
from adapters.http.outgoing import OUTGOING, Outgoing
from adapters.http.problems import MALFORMED_REQUEST, REQUEST_HEADER_FIELDS_TOO_LARGE, REQUEST_TIMEOUT

LINGER_SECONDS = 2.0
"""For a request on a connection that rests to arrive when the server is told to stop: it may be on its way."""

GRACE_SECONDS = 2.0
"""For a body under way to arrive when the server is told to stop."""

SEND_SECONDS = 20.0
"""For a client to read more of what it was sent."""


def bounded_protocol(
    limits: HeadLimits, admission: Admission, *, send_timeout: float = SEND_SECONDS
) -> type["PatientProtocol"]:
    """Return the protocol with these limits; the server takes a class, of which it makes one for each connection."""
    members = {"limits": limits, "admission": admission, "send_timeout": send_timeout}
    return type("BoundedProtocol", (PatientProtocol,), members)


class PatientProtocol(HttpToolsProtocol):
    """Serves a request that offers an upgrade as if it offered none, and refuses one that breaks the rules."""

    limits = HeadLimits()
    admission = Admission()
    send_timeout = SEND_SECONDS
    """How long a client may read nothing of what it was sent, in seconds."""

    _is_offer = False
    _is_refused = False
    _is_draining = False
    _in_head = False
    _in_body = False
    _chunk = 0  # octets that came in at once
    _unread = 0  # octets of a head, or of a body without content, that the parser may have to keep
    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first request."""
        super().connection_made(transport)
        self._outgoing = Outgoing(self.loop, transport, self.send_timeout)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._stop_waiting()
        self._outgoing.end()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read what came in; after an offer, read the request and what follows it again."""
        if self._is_refused:
            return
        if not (self._in_head or self._in_body):
            self._unread = 0
        self._chunk = len(data)
        self._unread += self._chunk
        rest = self._feed(data)
        while rest is not None:  # a loop, because a client may send any number of offers at once
            rest = self._read_without_offer(rest)
        if self._in_head or self._in_body:
            self._check_unread()

    def _feed(self, data: bytes) -> bytes | None:
        """Have the data read; return what the parser left of it after an offer."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return data[upgrade.args[0] :]
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause if isinstance(cause, ProblemError) else ProblemError(MALFORMED_REQUEST))
        return None

    def _check_unread(self) -> None:
        if self._is_refused:
            return
        if self._unread > self.limits.max_header_bytes:
            self._refuse(ProblemError(REQUEST_HEADER_FIELDS_TOO_LARGE))
        elif self._in_head and self._timer is None:
            self._await_head()

    def on_message_begin(self) -> None:
        """Start to read a head."""
        if self.timeout_keep_alive_task is not None:
            self._unset_keepalive_if_required()
        self._in_head = True
        super().on_message_begin()
        cast("Scope", self.scope)[OUTGOING] = self._outgoing

    def on_headers_complete(self) -> None:
        """Start the request, unless it has to be read again without its offer. Raises ProblemError to refuse it."""
        method = self.parser.get_method()
        self._is_offer = self.parser.should_upgrade() and method != b"CONNECT"
        if self._is_offer:
            return
        if self._unread > self.limits.max_header_bytes or self._chunk > self.limits.max_header_bytes:
            check_size(self.url, self.headers, self.limits)
        check_head(self.parser.get_http_version(), method, self.headers, self.limits.max_headers)
        super().on_headers_complete()
        if self._timer is not None:
            self._stop_waiting()
        self._in_head, self._in_body = False, True
        self._unread = 0
        self.headers = []  # for trailers, which nobody asks for
        if self._is_draining:
            self._end_with_request()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        """Start to answer a request. One that is not admitted is answered here and now.

        As a task it would cost more, and wait for all that the tasks before it have to do. Where nothing waits to be
        sent, its answer does not wait either; requests that came before the last one was answered take their turn.
        """
        at_once = not self._is_draining and cycle is self.cycle and not self.transport.get_write_buffer_size()
        if at_once and self.admission.room(cast("Scope", cycle.scope)) is None:
            with suppress(StopIteration):
                cycle.run_asgi(app).send(None)
        else:
            super()._start_asgi_task(cycle, app)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._unread = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request, unless it has to be read again without its offer."""
        if not self._is_offer:
            self._in_body = False
            super().on_message_complete()

    def _read_without_offer(self, rest: bytes) -> bytes | None:
        """Read the last head again without its offer, and the rest; return what is left of that after an offer."""
        version = self.parser.get_http_version().encode()
        lines = [self.parser.get_method() + b" " + self.url + b" HTTP/" + version]
        lines += [name + b": " + value for name, value in self.headers if name not in {b"upgrade", b"http2-settings"}]
        self._is_offer = self._in_head = False
        self.parser = httptools.HttpRequestParser(self)
        self._feed(b"\r\n".join(lines) + b"\r\n\r\n")
        return None if self._is_refused else self._feed(rest)

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(self.limits.timeout, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _head_is_late(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and not cycle.response_complete:
            self._await_head()  # what came before is still being answered
        elif self._in_head:
            self._refuse(ProblemError(REQUEST_TIMEOUT))
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """End the connection with the request under way, or with the next one that comes soon.

        A head or a body that does not come to its end does not hold that up.
        """
        if self._is_draining:
            return
        self._is_draining = True
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.loop.call_later(LINGER_SECONDS, self._linger_no_more)
        else:
            self._end_with_request()

    def _end_with_request(self) -> None:
        self.cycle.keep_alive = False
        if self._in_body:
            self._timer = self.loop.call_later(GRACE_SECONDS, self._body_is_late)

    def _linger_no_more(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if (cycle is None or cycle.response_complete) and not self.transport.is_closing():
            self._head_is_late()

    def _body_is_late(self) -> None:
        if self._in_body:
            self._refuse(ProblemError(REQUEST_TIMEOUT))

    def _refuse(self, error: ProblemError) -> None:
        """Answer with a problem in the place of the request that is being read, and read no more."""
        self._is_refused = True
        self._stop_waiting()
        cycle = self.cycle
        if not self._in_body:
            self._start_refused(error)
        elif cycle.response_complete:
            self.transport.close()
        else:
            cycle.keep_alive = False
            cast("Scope", cycle.scope)[REFUSAL] = error
            cycle.message_event.set()

    def _start_refused(self, error: ProblemError) -> None:
        if not self._in_head:
            self.on_message_begin()
        method = self.parser.get_method().decode("ascii") if self.url else ""
        scope: dict[str, Any] = dict(self.scope, method=method, path="/", raw_path=b"/", query_string=b"")
        scope[REFUSAL] = error
        previous: RequestResponseCycle | None = self.cycle
        self.cycle = RequestResponseCycle(
            scope=scope,  # type: ignore[arg-type]
            transport=self.transport,
            flow=self.flow,
            logger=self.logger,
            access_logger=self.access_logger,
            access_log=self.access_log,
            default_headers=self.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=False,
            keep_alive=False,
            on_response=self.on_response_complete,
        )
        if previous is None or previous.response_complete:
            self._start_asgi_task(self.cycle, self.app)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))
