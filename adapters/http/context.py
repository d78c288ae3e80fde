"""What a request needs of the application that serves it, all of it in `app.state`."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple, Protocol

from fastapi import Request

from adapters.http.cursors import Cursors
from adapters.http.limits import RequestLimits
from adapters.http.rates import IN_PROCESS, RateLimits
from application.access import Caller
from application.authentication import Authenticator
from application.credentials import Peppers
from application.keys import ApiKeyService
from application.posts import PostService
from application.users import UserService


class Component(NamedTuple):
    """Whether something that the service needs is ready, and a word about it that anyone may read."""

    ready: bool
    detail: str


CALLER = "hexapost.caller"
"""The key of the ASGI scope under which it is who makes the request, once that is known."""

Readiness = Callable[[], Awaitable[Mapping[str, Component]]]
"""Tells by name whether what the service needs, such as its database, is ready; it does not wait for any of it."""


class AccessLog(Protocol):
    """Writes down one request that was answered; the method `info` of a structlog logger is one."""

    def __call__(self, event: str, /, **fields: str | float | None) -> object:
        """Write the event with its fields; it must not block."""


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

    `access_log` None means the logger `hexapost.access`; `idempotency` is how long the outcome of a request with an
    idempotency key is kept; `rate_limit` is in the notation of the library `limits`, None for no limit.
    """

    cursor_secret: bytes
    peppers: Peppers
    idempotency: timedelta = timedelta(hours=24)
    rate_limit: str | None = None
    rate_limit_store: str = IN_PROCESS
    limits: RequestLimits = field(default_factory=RequestLimits)
    version: str = "0.1.0"
    access_log: AccessLog | None = None


def services(request: Request) -> Services:
    """Return the use cases of the application that serves the request."""
    found: Services = request.app.state.services
    return found


def cursors(request: Request) -> Cursors:
    """Return the maker and reader of cursors of the application that serves the request."""
    found: Cursors = request.app.state.cursors
    return found


def caller(request: Request) -> Caller:
    """Return who makes the request, which the route has found out."""
    found: Caller = request.scope[CALLER]
    return found


def rate_limits(request: Request) -> RateLimits:
    """Return what counts the requests to the application that serves this one."""
    found: RateLimits = request.app.state.rate_limits
    return found
