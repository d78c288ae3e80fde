"""pytest fixtures: the application over a separate database per test, an HTTP client, and API keys.

Redefine a fixture to change a part: `hexapost_settings` for other settings, `hexapost_container` to override providers,
and `hexapost_database_url` with None as its value for storage in memory.
"""

import hashlib
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import ClassVar, Protocol
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from fastapi import FastAPI
from pydantic import SecretBytes
from sqlalchemy import URL

from adapters.asgi import create_container
from adapters.container import Container
from adapters.database_url import parse_database_url
from adapters.memory.unit_of_work import InMemoryStorage
from adapters.postgres.pool import PoolUsage
from adapters.setting_values import MIN_SECRET_BYTES, RATE_LIMIT_OFF
from adapters.settings import DATABASE_URL, Settings
from adapters.testing.template_databases import Databases, embedded_server
from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import Scope


class CreateApiKey(Protocol):
    """Creates an API key and returns its text."""

    def __call__(self, *scopes: Scope, user_id: UUID | None = None) -> Awaitable[str]:
        """Create a key with these scopes, or with all scopes."""


class _NoDatabase:
    """Replaces the connection pool and the readiness monitor if the storage is in memory."""

    usage = PoolUsage(0, 0, 0)
    last_result: ClassVar = {"storage": (True, "in memory")}
    run = staticmethod(nullcontext)

    async def close(self) -> None:
        """Close nothing."""


@pytest.fixture(scope="session")
def hexapost_databases(pytestconfig: pytest.Config) -> Iterator[Databases]:
    """Yield the test databases, on the server of DATABASE_URL or on an embedded one. Other databases are not used."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID") or secrets.token_hex()
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    given = os.environ.get(DATABASE_URL)
    with (
        nullcontext(parse_database_url(given)) if given else embedded_server(pytestconfig.rootpath) as url,
        Databases(url, run=hashlib.sha256(run.encode()).hexdigest()[:8], worker=worker).opened() as databases,
    ):
        yield databases


@pytest.fixture
def hexapost_database_url(hexapost_databases: Databases) -> Iterator[URL | None]:
    """Yield the URL of a database with the schema and without rows, which only this test uses."""
    url = hexapost_databases.clone()
    yield url
    hexapost_databases.drop(url)


@pytest.fixture
def hexapost_settings(hexapost_database_url: URL | None, tmp_path: Path) -> Settings:
    """Return the settings of the application, with new secrets, a small pool and no rate limit."""
    return Settings(
        database_url=hexapost_database_url,
        db_pool_size=2,
        cursor_secret=SecretBytes(secrets.token_bytes(MIN_SECRET_BYTES)),
        api_key_peppers={1: SecretBytes(secrets.token_bytes(MIN_SECRET_BYTES))},
        rate_limit=RATE_LIMIT_OFF,
        state_directory=tmp_path / "hexapost",
    )


@pytest.fixture
def hexapost_container(hexapost_settings: Settings) -> Container:
    """Return the object graph of the application, before its first use."""
    container = create_container(hexapost_settings)
    if hexapost_settings.database_url is None:
        container.storage.override(InMemoryStorage(clock=container.clock.provided.call()))
        container.database.override(_NoDatabase())
        container.readiness_monitor.override(_NoDatabase())
    return container


@pytest_asyncio.fixture
async def hexapost_app(hexapost_container: Container) -> AsyncIterator[FastAPI]:
    """Yield the running application."""
    app = hexapost_container.app()
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
def hexapost_create_api_key(hexapost_container: Container) -> CreateApiKey:
    """Return a function that creates an API key."""

    async def create(*scopes: Scope, user_id: UUID | None = None) -> str:
        service = hexapost_container.api_keys()
        created = await service.create(SYSTEM_PRINCIPAL, name="test", scopes=scopes or Scope, user_id=user_id)
        return created.text

    return create


@pytest_asyncio.fixture
async def hexapost_client(
    hexapost_app: FastAPI, hexapost_create_api_key: CreateApiKey
) -> AsyncIterator[httpx.AsyncClient]:
    """Yield an HTTP client of the application, with an API key that has all scopes."""
    headers = {"Authorization": f"Bearer {await hexapost_create_api_key()}"}
    transport = httpx.ASGITransport(hexapost_app)
    async with httpx.AsyncClient(transport=transport, base_url="http://hexapost.test", headers=headers) as client:
        yield client
