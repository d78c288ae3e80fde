"""What a request needs of the application that serves it, all of it in `app.state`."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, Protocol

from fastapi import Request
from typing_extensions import override

from adapters.http.cursors import Cursors
from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.limits import RequestLimits
from adapters.http.middleware.request_context import request_context
from adapters.http.rates import IN_PROCESS, RateLimits
from application.access import Caller, UnauthenticatedError
from application.authentication import Authenticator
from application.keys import ApiKeyService
from application.posts import PostService
from application.users import UserService


class Component(NamedTuple):
    """Whether something that the service needs is ready, and a word about it that anyone may read."""

    ready: bool
    detail: str


KEPT = timedelta(hours=24)
"""How long the outcome of a request with an idempotency key is."""

Readiness = Callable[[], Awaitable[Mapping[str, Component]]]
"""Tells by name whether what the service needs, such as its database, is ready; it does not wait for any of it."""


class AccessLog(Protocol):
    """Writes down one request that was answered; the method `info` of a structlog logger is one."""

    def __call__(self, event: str, /, **fields: str | float | None) -> object:
        """Write the event with its fields; it must not block."""


REFUSED = "refused"
"""The route, for metrics, of a request that was refused before there was a look at its path."""


class Metrics(Protocol):
    """Counts requests, and shows what it and others counted."""

    def began(self) -> None:
        """Count a request that begins."""

    def ended(self, *, route: str | None, method: str, status: int, seconds: float, rejection: str | None) -> None:
        """Count a request that ended; `rejection` is why it was turned away, if it was.

        `route` is a template of a path, None where there is nothing at the path, or REFUSED.
        """

    def exposition(self) -> bytes:
        """Return everything in the text format of Prometheus, version 0.0.4."""


class NoMetrics(Metrics):
    """Counts nothing."""

    @override
    def began(self) -> None:
        pass

    @override
    def ended(self, *, route: str | None, method: str, status: int, seconds: float, rejection: str | None) -> None:
        pass

    @override
    def exposition(self) -> bytes:
        return b""


class RequestSpan(Protocol):
    """A request in a trace."""

    trace_id: str

    def end(self, *, route: str | None, status: int) -> None:
        """End it with what is known of the request now."""


Trace = Callable[[str, Sequence[tuple[bytes, bytes]]], RequestSpan]
"""Begins to trace a request, which has this method and these headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The use cases that the routes call."""

    users: UserService
    posts: PostService
    keys: ApiKeyService
    authenticator: Authenticator
    readiness: Readiness


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """What can be chosen about the HTTP interface.

    `access_log` None means the logger `hexapost.access`, `trace` None that nothing is traced; `idempotency` is how long
    the outcome of a request with an idempotency key is kept; `rate_limit` is in the notation of the library `limits`,
    None for no limit.
    """

    version: str
    cursor_secret: bytes
    idempotency: timedelta = KEPT
    rate_limit: str | None = None
    rate_limit_store: str = IN_PROCESS
    limits: RequestLimits = field(default_factory=RequestLimits)
    admission: AdmissionController = field(default_factory=AdmissionController)
    access_log: AccessLog | None = None
    metrics: Metrics = field(default_factory=NoMetrics)
    trace: Trace | None = None


def services(request: Request) -> Services:
    """Return the use cases of the application that serves the request."""
    found: Services = request.app.state.services
    return found


def cursors(request: Request) -> Cursors:
    """Return the maker and reader of cursors of the application that serves the request."""
    found: Cursors = request.app.state.cursors
    return found


def caller(request: Request) -> Caller:
    """Return the authenticated principal of the request."""
    principal = request_context(request).principal
    if principal is None:
        raise UnauthenticatedError
    return principal


def rate_limits(request: Request) -> RateLimits:
    """Return what counts the requests to the application that serves this one."""
    found: RateLimits = request.app.state.rate_limits
    return found


def metrics(request: Request) -> Metrics:
    """Return what counts the requests to the application that serves this one, and shows their number."""
    found: Metrics = request.app.state.metrics
    return found
