"""What pytest-alembic's tests need, and revisions of a test's own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL, Connection, create_engine
from sqlalchemy.pool import NullPool

from tests.migrations.revisions import Revisions
from tests.support.databases import with_driver


@pytest.fixture
def alembic_config() -> dict[str, str]:
    return {"script_location": "migrations", "path_separator": "os"}


@pytest.fixture
def alembic_engine(empty: URL) -> Iterator[Connection]:
    """A connection to a database without tables, for each test one of its own."""
    engine = create_engine(with_driver(empty, "psycopg"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


@pytest.fixture
def own(tmp_path: Path) -> Revisions:
    """Revisions of the test's own."""
    directory = tmp_path / "versions"
    directory.mkdir()
    return Revisions(directory)
