"""Creates the application from the routes, the middleware and the exception handlers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from functools import cached_property
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.types import Lifespan

from adapters.exception_summary import exception_types, traceback_locations
from adapters.http import api_keys, docs, health, metrics, post_pages, posts, problem_pages, users
from adapters.http.context import HttpOptions, Services
from adapters.http.cursors import Cursors
from adapters.http.errors import EXCEPTION_HANDLERS
from adapters.http.middleware.request_middleware import RequestMiddleware
from adapters.http.openapi import build, openapi_document
from adapters.http.rates import made_rate_limits


class Application(FastAPI):
    """FastAPI with the OpenAPI document of this service."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, which is created once."""
        if self.openapi_schema is None:
            self.openapi_schema = build(self)
        return self.openapi_schema

    @cached_property
    def document(self) -> bytes:
        """The document as JSON."""
        return openapi_document(self).encode()


def create_app(services: Services, options: HttpOptions, *, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Return an application with these use cases. It shares no state with other applications in the process."""
    app = Application(
        title="Hexapost",
        version=options.version,
        routes=[
            *users.router.routes,
            *post_pages.router.routes,
            *posts.router.routes,
            *api_keys.router.routes,
            *health.router.routes,
            *metrics.router.routes,
            *docs.router.routes,
            *problem_pages.router.routes,
        ],
        lifespan=_closing(lifespan or _nothing),
        exception_handlers=EXCEPTION_HANDLERS,
        redirect_slashes=False,
        # FastAPI's telemetry records paths and query strings, and starts inside our span.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_url=None,
    )
    app.state.services = services
    app.state.cursors = Cursors(options.cursor_secret)
    app.state.idempotency = options.idempotency
    app.state.rate_limits = made_rate_limits(options.rate_limit, options.rate_limit_store)
    app.state.metrics = options.metrics
    app.state.max_json_depth = options.limits.max_json_depth
    app.add_middleware(
        RequestMiddleware,
        limits=options.limits,
        admission=options.admission,
        access_log=options.access_log or structlog.get_logger("hexapost.access").info,
        metrics=options.metrics,
        trace=options.trace,
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
        stack.push_async_callback(app.state.rate_limits.close)
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
