"""Dependencies of the routes: the objects in `app.state`, and the options of the application."""

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
from application.api_keys import ApiKeyService
from application.authentication import Authenticator
from application.authorization import Principal, UnauthenticatedError
from application.posts import PostService
from application.users import UserService


class Component(NamedTuple):
    """The readiness of a component, and a public status text."""

    ready: bool
    detail: str


KEPT = timedelta(hours=24)
"""The default retention of idempotency records."""

Readiness = Callable[[], Awaitable[Mapping[str, Component]]]
"""Returns the last known status of each component by name, without waiting."""


class AccessLog(Protocol):
    """Logs a request. The method `info` of a structlog logger has this signature."""

    def __call__(self, event: str, /, **fields: str | float | None) -> object:
        """Log the event with its fields. It must not block."""


REFUSED = "refused"
"""The route label of a request that was rejected before routing."""


class Metrics(Protocol):
    """Records request metrics, and renders all metrics."""

    def began(self) -> None:
        """Record the start of a request."""

    def ended(self, *, route: str | None, method: str, status: int, seconds: float, rejection: str | None) -> None:
        """Record the end of a request. `rejection` is the problem code of its response.

        `route` is a path template, None for an unknown path, or REFUSED.
        """

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format 0.0.4."""


class NoMetrics(Metrics):
    """Discards all metrics."""

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
    """The span of a request."""

    trace_id: str

    def end(self, *, route: str | None, status: int) -> None:
        """End the span with the result of the request."""


Trace = Callable[[str, Sequence[tuple[bytes, bytes]]], RequestSpan]
"""Starts the span of a request with this method and these headers."""


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
    """The options of the application.

    `access_log` is by default the logger `hexapost.access`. If `trace` is None, tracing is off. `idempotency` is the
    retention of idempotency records. `rate_limit` has the notation of the library `limits`; None means no limit.
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
    """Return the use cases of the application."""
    found: Services = request.app.state.services
    return found


def cursors(request: Request) -> Cursors:
    """Return the cursor codec of the application."""
    found: Cursors = request.app.state.cursors
    return found


def caller(request: Request) -> Principal:
    """Return the authenticated principal of the request."""
    principal = request_context(request).principal
    if principal is None:
        raise UnauthenticatedError
    return principal


def rate_limits(request: Request) -> RateLimits:
    """Return the rate limiter of the application."""
    found: RateLimits = request.app.state.rate_limits
    return found


def metrics(request: Request) -> Metrics:
    """Return the metrics recorder of the application."""
    found: Metrics = request.app.state.metrics
    return found
