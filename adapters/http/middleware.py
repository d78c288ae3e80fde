"""What every request and response goes through, in one layer of pure ASGI."""

import asyncio
import traceback
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.http.admission import Admission, refuse
from adapters.http.context import AccessLog
from adapters.http.deadlines import Deadline
from adapters.http.exchange import Exchange
from adapters.http.limits import RequestLimits
from adapters.http.problems import INTERNAL_ERROR, OVERLOADED, REQUEST_TIMEOUT

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"})
_CLIENT_GONE = 499
"""The status that is written down when the client left before there was a response, as nginx does."""


class Envelope:
    """Request ids, trailing slashes, HEAD, the limits, headers of every response, failures, the access log."""

    def __init__(self, app: ASGIApp, *, limits: RequestLimits, access_log: AccessLog) -> None:
        self._app = app
        self._limits = limits
        self._admission = Admission(limits.max_in_work)
        self._access_log = access_log
        self._logger = structlog.get_logger("hexapost.http")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; what is none is passed on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        exchange = Exchange(scope, receive, send, self._limits.max_body_bytes)
        if self._admission.refuses(scope):
            await refuse(exchange.send, exchange.request_id)
            self._write_down(exchange, scope["method"], started)
            return
        await self._admit(exchange, scope["method"], started)

    async def _admit(self, exchange: Exchange, method: str, started: float) -> None:
        admission = self._admission
        admission.in_work += 1
        if exchange.body is not None:
            exchange.body.admission = admission
        deadline = Deadline(self._limits, exchange.body)
        try:
            if exchange.refusal is None:
                await self._app(exchange.scope, exchange.receive, exchange.send)
            else:
                await exchange.report(exchange.refusal.problem, detail=exchange.refusal.detail)
        except ClientDisconnect:
            exchange.status = exchange.status or _CLIENT_GONE
        except (asyncio.CancelledError, Exception) as error:  # noqa: BLE001 - what nobody expected ends here
            await self._fail(exchange, error, deadline)
        finally:
            deadline.end()
            admission.in_work -= 1
            self._write_down(exchange, method, started)

    def _write_down(self, exchange: Exchange, method: str, started: float) -> None:
        self._access_log(
            "request",
            request_id=exchange.request_id,
            method=method if method in _METHODS else "other",
            route=getattr(exchange.scope.get("route"), "path", None),
            status=exchange.status,
            duration_ms=round((perf_counter() - started) * 1000, 3),
            bytes=exchange.bytes,
            key_id=exchange.key_id,
        )

    async def _fail(self, exchange: Exchange, error: BaseException, deadline: Deadline) -> None:
        """Answer in place of the application. Raises the cancellation again that came from outside."""
        deadline.end()
        is_cancelled = deadline.is_cancelled and isinstance(error, asyncio.CancelledError)
        if deadline.problem is not None:
            await exchange.give_up(deadline.problem)
        elif is_cancelled:
            # The server stops and has waited long enough; the next one may take it.
            await exchange.give_up(REQUEST_TIMEOUT if exchange.is_unfinished else OVERLOADED)
        else:
            # Neither messages nor values are written down: they may hold what people wrote, or what the database said.
            self._logger.error(
                "request failed", request_id=exchange.request_id, exception=_names(error), traceback=_traceback(error)
            )
            await exchange.give_up(INTERNAL_ERROR)
        if is_cancelled:
            raise error


def _names(error: BaseException) -> str:
    """Return the class of the error and, after it, those of the errors it arose from."""
    names = []
    found: BaseException | None = error
    while found is not None:
        names.append(f"{type(found).__module__}.{type(found).__qualname__}")
        found = found.__cause__ or found.__context__
    return " from ".join(names)


def _traceback(error: BaseException) -> list[str]:
    """Return the places that the error came through, the innermost last."""
    frames = traceback.StackSummary.extract(traceback.walk_tb(error.__traceback__), lookup_lines=False)
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in frames]
