"""Fixtures for the tests of migrations, and those that pytest-alembic needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, create_engine
from sqlalchemy import Connection as SqlAlchemyConnection
from sqlalchemy.pool import NullPool

from adapters.testing.template_databases import connected, with_driver
from tests.migrations.revision_fixtures import RevisedDatabase, Revisions


@pytest.fixture
def alembic_config() -> dict[str, str]:
    return {"script_location": "migrations", "path_separator": "os"}


@pytest.fixture
def alembic_engine(empty: URL) -> Iterator[SqlAlchemyConnection]:
    """A connection to an empty database."""
    engine = create_engine(with_driver(empty, "psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def own(tmp_path: Path) -> Revisions:
    """A directory for the revisions of the test."""
    directory = tmp_path / "versions"
    directory.mkdir()
    return Revisions(directory)


@pytest.fixture
def database(scratch: URL, own: Revisions, request: pytest.FixtureRequest) -> Iterator[RevisedDatabase]:
    """A database and the test's revisions; through both drivers if the test uses `driver`."""
    driver = request.getfixturevalue("driver") if "driver" in request.fixturenames else "asyncpg"
    with connected(scratch) as session:
        yield RevisedDatabase(own.directory, with_driver(scratch, driver), session)
