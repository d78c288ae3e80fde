"""OpenTelemetry spans of requests, use cases and SQL statements, without client data.

The attributes follow the semantic conventions for HTTP and database spans. `url.path`, `url.query` and the client
address are omitted, because they contain IDs and input.
"""

import asyncio
import inspect
import re
import threading
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, wraps
from typing import Any, TypeVar

from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Span, SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import AttributeValue

from domain.errors import DomainError

FLUSH_TIMEOUT_SECONDS = 3.0
"""The time limit of the export at shutdown."""

T = TypeVar("T")

_EXPECTED_ERRORS = (DomainError,)
_FAILED = Status(StatusCode.ERROR)
_MIN_SERVER_ERROR_STATUS = 500
# The summary of a write with an audit entry is that of the write, the common table expression `written`.
_SUMMARY = re.compile(
    r"^(?:WITH .*?\bwritten AS\s*\(|WITH .*?\)\s*)?(SELECT|INSERT|UPDATE|DELETE)\b(?:.*?\b(?:FROM|INTO)\s+)?\s*(\w+)?",
    re.DOTALL,
)
_NOOP_SPAN = nullcontext()
_PROPAGATOR = TraceContextTextMapPropagator()


def create_otlp_tracer(version: str) -> "Tracer":
    """Return a tracer with the sampler and the OTLP/HTTP exporter in the variables of the SDK."""
    ours = Resource({"service.name": "hexapost", "service.version": version})
    resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Tracer(provider)


class Tracer:
    """Creates the spans of one process."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self._tracer = provider.get_tracer("hexapost")

    def start_request_span(self, method: str, headers: Sequence[tuple[bytes, bytes]]) -> "RequestSpan":
        """Start the span of a request. Its parent is the span in the headers (W3C Trace Context)."""
        is_known = method != "other"
        name = method if is_known else "HTTP"
        attributes = {"http.request.method": method if is_known else "_OTHER", "url.scheme": "http"}
        span = self._tracer.start_span(name, _parent_context(headers), SpanKind.SERVER, attributes)
        return RequestSpan(span, name)

    def statement_span(self, sql: str) -> AbstractContextManager[object]:
        """Return the span of a statement as a context manager."""
        if _is_not_sampled():
            return _NOOP_SPAN
        summary, attributes = _summarize_statement(sql)
        return _current_span(self._tracer.start_span(summary, kind=SpanKind.CLIENT, attributes=attributes))

    def wrap_service(self, service: T) -> T:
        """Return the service with a span around each of its use cases."""
        return _TracedService(service, self._tracer)  # type: ignore[return-value]

    async def close(self) -> None:
        """Export the remaining spans, with a time limit."""
        # Not in the executor of the event loop: its shutdown waits for threads without a limit.
        loop, closed = asyncio.get_running_loop(), asyncio.Event()

        def close() -> None:
            self._provider.shutdown()
            loop.call_soon_threadsafe(closed.set)

        threading.Thread(target=close, daemon=True).start()
        try:
            async with asyncio.timeout(FLUSH_TIMEOUT_SECONDS):
                await closed.wait()
        except TimeoutError:
            return


class RequestSpan:
    """The span of a request, which is the current span until it ends."""

    def __init__(self, span: Span, name: str) -> None:
        self._span = span
        self._name = name
        self._token = context.attach(trace.set_span_in_context(span))
        self.trace_id = trace.format_trace_id(span.get_span_context().trace_id)

    def end(self, *, route: str | None, status: int) -> None:
        """End the span with the result of the request."""
        context.detach(self._token)
        if route is not None:
            self._span.update_name(f"{self._name} {route}")
            self._span.set_attribute("http.route", route)
        if status:
            self._span.set_attribute("http.response.status_code", status)
        if status >= _MIN_SERVER_ERROR_STATUS or not status:
            self._span.set_attribute("error.type", str(status or "no_response"))
            self._span.set_status(_FAILED)
        self._span.end()


@contextmanager
def _current_span(span: Span) -> Iterator[None]:
    """Make a span the current one, and end it. Record the class of an error, but not its message."""
    with trace.use_span(span, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        try:
            yield
        except BaseException as error:
            span.set_attribute("error.type", type(error).__qualname__)
            sqlstate = getattr(error, "sqlstate", None)
            if isinstance(sqlstate, str):
                span.set_attribute("db.response.status_code", sqlstate)
            if not isinstance(error, _EXPECTED_ERRORS):
                span.set_status(_FAILED)
            raise


class _TracedService:
    """Wraps a service. Calls between its use cases get no separate spans."""

    def __init__(self, service: object, tracer: trace.Tracer) -> None:
        self._service = service
        # Members of the class: Python before 3.11.3 cannot list the members of an object with slots.
        for name, _ in inspect.getmembers(type(service), inspect.iscoroutinefunction):
            method = getattr(service, name)
            if not name.startswith("_"):
                setattr(self, name, _with_span(method, f"{type(service).__name__}.{name}", tracer))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._service, name)


def _with_span(
    method: Callable[..., Coroutine[Any, Any, T]], name: str, tracer: trace.Tracer
) -> Callable[..., Coroutine[Any, Any, T]]:
    @wraps(method)
    async def spanned(*args: Any, **kwargs: Any) -> T:
        if _is_not_sampled():
            return await method(*args, **kwargs)
        with _current_span(tracer.start_span(name)):
            return await method(*args, **kwargs)

    return spanned


def _is_not_sampled() -> bool:
    """Return True if the request is not sampled, which applies to all its spans."""
    parent = trace.get_current_span().get_span_context()
    return parent.is_valid and not parent.trace_flags.sampled


def _parent_context(headers: Sequence[tuple[bytes, bytes]]) -> context.Context:
    """Return the context in the headers, an empty one unless they contain exactly one valid `traceparent`."""
    states = [value.decode("latin-1") for name, value in headers if name == b"tracestate"]
    parents = [value.decode("latin-1") for name, value in headers if name == b"traceparent"]
    if len(parents) != 1:
        return context.Context()
    carrier = {"traceparent": parents} | ({"tracestate": [",".join(states)]} if states else {})
    return _PROPAGATOR.extract(carrier, context.Context())


@cache
def _summarize_statement(sql: str) -> tuple[str, Mapping[str, AttributeValue]]:
    """Return the summary of a statement, such as `SELECT users`, and its attributes."""
    found = _SUMMARY.match(sql.lstrip())
    summary = " ".join(part for part in found.groups() if part) if found else sql.split(maxsplit=1)[0].rstrip(";")
    return summary, {"db.system.name": "postgresql", "db.query.summary": summary, "db.query.text": sql}
