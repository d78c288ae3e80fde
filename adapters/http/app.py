"""Creates the application from the routes, the middleware and the exception handlers."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import structlog
from fastapi import FastAPI
from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send
from typing_extensions import override

from adapters.exception_summary import exception_types, traceback_locations
from adapters.http.compiled_routes import Dispatcher
from adapters.http.dependencies import AppState, HttpOptions, UseCases
from adapters.http.middleware.request_context import RequestMiddleware
from adapters.http.openapi.document import build_document
from adapters.http.problems.handlers import EXCEPTION_HANDLERS
from adapters.http.rate_limits import RateLimiter
from adapters.http.routers import api_keys, audit, docs, erasures, health, metrics, posts, problems, user_export, users

_ROUTERS = (users, user_export, posts, api_keys, audit, erasures, health, metrics, docs, problems)
"""The modules with routes, in the order of the OpenAPI document. `TAG` documents the tag of a module."""


class Application(FastAPI):
    """FastAPI with the OpenAPI document and the dispatcher of this service."""

    def openapi(self) -> dict[str, Any]:
        """Return the document, which is created once."""
        if self.openapi_schema is None:
            self.openapi_schema = build_document(self)
        return self.openapi_schema

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass requests to the middleware, without FastAPI's check of its telemetry, which is off."""
        if scope["type"] == "http" and self.middleware_stack is not None:
            scope["app"] = self
            await self.middleware_stack(scope, receive, send)
        else:
            await super().__call__(scope, receive, send)

    @override
    def build_middleware_stack(self) -> ASGIApp:
        app: ASGIApp = Dispatcher(self)
        for middleware, arguments, options in reversed(self.user_middleware):
            app = middleware(app, *arguments, **options)
        return app


def create_app(use_cases: UseCases, options: HttpOptions, *, lifespan: Lifespan[FastAPI] | None = None) -> FastAPI:
    """Return an application with these use cases. It shares no state with other applications in the process."""
    rate_limiter = None if options.rate_limit is None else RateLimiter(options.rate_limit, options.rate_limit_store)
    app = Application(
        title="Hexapost",
        version=options.version,
        routes=[route for module in _ROUTERS for route in module.router.routes],
        openapi_tags=[module.TAG for module in _ROUTERS if hasattr(module, "TAG")],
        lifespan=_with_cleanup(lifespan, rate_limiter),
        exception_handlers=EXCEPTION_HANDLERS,
        redirect_slashes=False,
        # FastAPI's telemetry records paths and query strings, and starts inside our span.
        telemetry={"tracing": False, "metrics": False, "logs": False},
        openapi_url=None,
    )
    app.state.hexapost = AppState(use_cases=use_cases, options=options, rate_limiter=rate_limiter)
    app.add_middleware(RequestMiddleware, options)
    return app


class LifespanError(Exception):
    """The start or the shutdown failed. Servers log this error, so it has no details; our log has a safe summary."""


def _with_cleanup(lifespan: Lifespan[FastAPI] | None, rate_limiter: RateLimiter | None) -> Lifespan[FastAPI]:
    """Return the lifespan with the cleanup of the application. Raises LifespanError in place of other errors."""

    @asynccontextmanager
    async def run(app: FastAPI) -> AsyncIterator[Any]:
        stack = AsyncExitStack()
        if rate_limiter is not None:
            stack.push_async_callback(rate_limiter.close)
        try:
            with _logged("startup failed"):
                state = None if lifespan is None else await stack.enter_async_context(lifespan(app))
            yield state
        finally:
            with _logged("shutdown failed"):
                await stack.aclose()

    return run


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
