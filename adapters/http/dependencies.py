"""The objects that routes and middleware need: the use cases, and the options of the application."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, Protocol

from typing_extensions import override

from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.request_limits import RequestLimits
from adapters.http.rate_limits import IN_PROCESS, RateLimiter
from application.api_keys import ApiKeyService
from application.audit import AuditService
from application.authentication import Authenticator
from application.posts import PostService
from application.user_export import UserExportService
from application.users import UserService


class ComponentStatus(NamedTuple):
    """The readiness of a component, and a public status text."""

    ready: bool
    detail: str


DEFAULT_IDEMPOTENCY_RETENTION = timedelta(hours=24)
"""The default retention of idempotency records."""

Readiness = Callable[[], Awaitable[Mapping[str, ComponentStatus]]]
"""Returns the last known status of each component by name, without waiting."""


AccessLog = Callable[..., object]
"""Logs a request: a level and an event with fields, as the method `log` of a structlog logger. It must not block."""

ROUTE_REJECTED = "rejected"
"""The route label of a request that was rejected before routing."""


ROUTE_PREFLIGHT = "preflight"
"""The route label of a preflight request (CORS)."""


class MetricsRecorder(Protocol):
    """Records request metrics, and renders all metrics."""

    def request_started(self) -> None:
        """Record the start of a request."""

    def request_finished(
        self, *, route: str | None, method: str, status: int, seconds: float, rejection: str | None
    ) -> None:
        """Record the end of a request. `rejection` is the problem code of its response.

        `route` is a path template, None for an unknown path, ROUTE_REJECTED or ROUTE_PREFLIGHT.
        """

    def render(self) -> bytes:
        """Return all metrics in the Prometheus text format 0.0.4."""


class NoopMetrics(MetricsRecorder):
    """Discards all metrics."""

    @override
    def render(self) -> bytes:
        return b""


class RequestSpan(Protocol):
    """The span of a request."""

    trace_id: str

    def end(self, *, route: str | None, status: int) -> None:
        """End the span with the result of the request."""


StartSpan = Callable[[str, Sequence[tuple[bytes, bytes]]], RequestSpan]
"""Starts the span of a request with this method and these headers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """The use cases that the routes call."""

    users: UserService
    posts: PostService
    api_keys: ApiKeyService
    user_export: UserExportService
    audit: AuditService
    authenticator: Authenticator
    readiness: Readiness


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpOptions:
    """The options of the application.

    `access_log` is by default the logger `hexapost.access`. Without `start_span`, tracing is off. `root_path` is the
    prefix of all paths behind a proxy. `cors_origins` are the origins that browsers may call from, or `*`; by default
    CORS is off. `idempotency_retention` is the retention of idempotency records. `rate_limit` has the notation of the
    library `limits`; by default requests are not limited.
    """

    version: str
    cursor_secret: bytes
    idempotency_retention: timedelta = DEFAULT_IDEMPOTENCY_RETENTION
    rate_limit: str | None = None
    rate_limit_store: str = IN_PROCESS
    root_path: str = ""
    cors_origins: Collection[str] | None = None
    limits: RequestLimits = field(default_factory=RequestLimits)
    admission: AdmissionController = field(default_factory=AdmissionController)
    access_log: AccessLog | None = None
    metrics: MetricsRecorder = field(default_factory=NoopMetrics)
    start_span: StartSpan | None = None


@dataclass(slots=True, kw_only=True)
class AppState:
    """The objects of one application that its routes use, in `app.state.hexapost`."""

    use_cases: UseCases
    options: HttpOptions
    rate_limiter: RateLimiter | None
