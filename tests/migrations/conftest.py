"""Fixtures for the tests of migrations, and those that pytest-alembic needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from alembic.config import Config
from sqlalchemy import URL, create_engine
from sqlalchemy import Connection as SqlAlchemyConnection
from sqlalchemy.pool import NullPool

from adapters.testing.template_databases import Databases, connected, with_driver
from migrations.runner import alembic_config as runner_config
from migrations.runner.revisions import Phase
from tests.migrations.revision_fixtures import RevisedDatabase, Revisions


@pytest.fixture
def alembic_config() -> Config:
    """A configuration for both phases, because the models describe the schema after them."""
    return runner_config.alembic_config(phase=Phase.CONTRACT)


@pytest.fixture
def scratch(databases: Databases) -> Iterator[URL]:
    """A database of the test's own, with the schema after the expand phase."""
    url = databases.clone(Phase.EXPAND)
    yield url
    databases.drop(url)


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
