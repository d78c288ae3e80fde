"""The composition root: which adapter stands behind which port. The only place that knows dependency_injector."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from dependency_injector import containers, providers
from fastapi import FastAPI

from adapters.http.app import create_app
from adapters.http.context import Component, HttpOptions, Services
from adapters.http.limits import HeadLimits, RequestLimits
from adapters.http.protocol import bounded_protocol
from adapters.postgres.database import Database, DatabaseOptions
from adapters.postgres.readiness import readiness
from adapters.postgres.storage import SqlAlchemyStorage
from adapters.settings import Settings
from adapters.system import new_id, utc_now
from application.posts import PostService
from application.transactions import Retry
from application.users import UserService


def database_options(settings: Settings) -> DatabaseOptions:
    """Return how the database is used, by the service and by the commands."""
    return DatabaseOptions(
        pool_size=settings.pool_size,
        pool_timeout=settings.pool_timeout_seconds,
        connect_timeout=settings.connect_timeout_seconds,
        prepared_statements=settings.prepared_statements,
        statement_timeout=settings.statement_timeout_seconds,
        idle_in_transaction_timeout=settings.idle_in_transaction_timeout_seconds,
    )


def request_limits(settings: Settings) -> RequestLimits:
    """Return the bounds of a request after its head."""
    return RequestLimits(
        max_body_bytes=settings.max_body_bytes,
        max_json_depth=settings.max_json_depth,
        body_timeout=settings.body_timeout_seconds,
        request_timeout=settings.request_timeout_seconds,
    )


def head_limits(settings: Settings) -> HeadLimits:
    """Return the bounds of the head of a request."""
    return HeadLimits(
        max_headers=settings.max_headers,
        max_header_bytes=settings.max_header_bytes,
        timeout=settings.head_timeout_seconds,
    )


class Probe:
    """The readiness that HTTP shows, as PostgreSQL tells it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __call__(self) -> Mapping[str, Component]:
        """Return whether each thing is ready, by name."""
        return {name: Component(*state) for name, state in (await readiness(self._database)).items()}


class ClosingLifespan:
    """Closes the database when the application that used it shuts down."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @asynccontextmanager
    async def __call__(self, app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG002 - FastAPI's
        """Return the lifespan of an application."""
        try:
            yield
        finally:
            await self._database.close()


class Container(containers.DeclarativeContainer):
    """The service as one graph of objects, each made once, when it is first asked for."""

    settings = providers.Dependency(instance_of=Settings)
    cursor_secret = providers.Dependency(instance_of=bytes)
    version = providers.Dependency(instance_of=str)

    options = providers.Singleton(database_options, settings)
    database = providers.Singleton(Database, settings.provided.database_url, options)
    storage = providers.Singleton(SqlAlchemyStorage, database)
    retry = providers.Singleton(Retry, deadline=settings.provided.retry_deadline_seconds)
    now = providers.Object(utc_now)
    new_id = providers.Object(new_id)
    users = providers.Singleton(UserService, storage=storage, now=now, new_id=new_id, retry=retry)
    posts = providers.Singleton(PostService, storage=storage, now=now, new_id=new_id, retry=retry)
    readiness = providers.Singleton(Probe, database)
    services = providers.Singleton(Services, users=users, posts=posts, readiness=readiness)
    limits = providers.Singleton(request_limits, settings)
    http_options = providers.Singleton(
        HttpOptions,
        cursor_secret=cursor_secret,
        limits=limits,
        version=version,
    )
    protocol = providers.Singleton(bounded_protocol, providers.Singleton(head_limits, settings))
    lifespan = providers.Singleton(ClosingLifespan, database)
    app = providers.Singleton(create_app, services, http_options, lifespan=lifespan)
