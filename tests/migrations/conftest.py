"""Fixtures for the tests of migrations, and those that pytest-alembic needs."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool

from tests.migrations.revision_fixtures import Revisions
from tests.support.template_databases import with_driver


@pytest.fixture
def alembic_config() -> dict[str, str]:
    return {"script_location": "migrations", "path_separator": "os"}


@pytest.fixture
def alembic_engine(empty: URL) -> Iterator[Connection]:
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
