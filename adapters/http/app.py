"""Creates the application from the routes, the middleware and the exception handlers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.types import Lifespan

from adapters.exception_summary import exception_types, traceback_locations
from adapters.http.cursors import CursorCodec
from adapters.http.dependencies import HttpOptions, UseCases
from adapters.http.middleware.request_middleware import RequestMiddleware
from adapters.http.openapi.document import build_document, openapi_document
from adapters.http.problems.handlers import EXCEPTION_HANDLERS
from adapters.http.routers import api_keys, docs, health, metrics, posts, problems, users
from adapters.http.security.rate_limits import create_rate_limiter

_ROUTERS = (users, posts, api_keys, health, metrics, docs, problems)
"""The modules with routes, in the order of the OpenAPI document. `TAG` documents the tag of a module."""


class Application(FastAPI):
    """FastAPI with the OpenAPI document of this service."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, which is created once."""
        if self.openapi_schema is None:
            self.openapi_schema = build_document(self)
        return self.openapi_schema

    @cached_property
    def document(self) -> bytes:
        """The document as JSON."""
        return openapi_document(self).encode()


def create_app(use_cases: UseCases, options: HttpOptions, *, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Return an application with these use cases. It shares no state with other applications in the process."""
    app = Application(
        title="Hexapost",
        version=options.version,
        routes=[route for module in _ROUTERS for route in module.router.routes],
        openapi_tags=[module.TAG for module in _ROUTERS if hasattr(module, "TAG")],
        lifespan=_closing(lifespan or _nothing),
        exception_handlers=EXCEPTION_HANDLERS,
        redirect_slashes=False,
        # FastAPI's telemetry records paths and query strings, and starts inside our span.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_url=None,
    )
    app.state.use_cases = use_cases
    app.state.cursor_codec = CursorCodec(options.cursor_secret)
    app.state.idempotency_retention = options.idempotency_retention
    app.state.rate_limiter = create_rate_limiter(options.rate_limit, options.rate_limit_store)
    app.state.metrics_recorder = options.metrics
    app.state.max_json_depth = options.limits.max_json_depth
    app.add_middleware(
        RequestMiddleware,
        limits=options.limits,
        admission=options.admission,
        access_log=options.access_log or structlog.get_logger("hexapost.access").info,
        metrics=options.metrics,
        trace=options.start_span,
    )
    return app


@asynccontextmanager
async def _nothing(_: FastAPI) -> AsyncIterator[None]:
    """Do nothing."""
    yield


class LifespanError(Exception):
    """The start or the shutdown failed. Servers log this error, so it has no details; our log has a safe summary."""


def _closing(lifespan: Lifespan[FastAPI]) -> Lifespan[FastAPI]:
    """Return the lifespan with the cleanup of the application. Raises LifespanError in place of other errors."""

    @asynccontextmanager
    async def closing(app: FastAPI) -> AsyncIterator[Any]:
        stack = AsyncExitStack()
        stack.push_async_callback(app.state.rate_limiter.close)
        try:
            with _logged("startup failed"):
                state = await stack.enter_async_context(lifespan(app))
            yield state
        finally:
            with _logged("shutdown failed"):
                await stack.aclose()

    return closing


@contextmanager
def _logged(failure: str) -> Iterator[None]:
    """Log the type of an error in the block, and raise LifespanError in its place."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - its message may contain database text
        structlog.get_logger("hexapost").error(
            failure, exception=exception_types(error), traceback=traceback_locations(error)
        )
        raise LifespanError from None
