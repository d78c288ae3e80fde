"""Tests for the search for canaries."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from adapters.testing.template_databases import Connection, connected
from tests.cli.support import wait_until
from tests.drills.canary_search import Canary, files_with, pages_with, tables_with

CANARY = Canary(["canary7f3a"], [b"\x01\x02\xfe\xff"])
CREATE = """
    CREATE SCHEMA other;
    CREATE TABLE other.texts (value text);
    CREATE INDEX indexed ON other.texts (value);
    CREATE TABLE bytes (value bytea);
"""


@pytest.fixture
def connection(scratch: URL) -> Iterator[Connection]:
    with connected(scratch) as connection:
        connection.execute(CREATE)
        yield connection


def test_search_finds_canary_in_tables(connection: Connection) -> None:
    assert tables_with(connection, CANARY) == {}
    connection.execute("INSERT INTO other.texts VALUES ('a CANARY7f3a, b'), ('b')")
    connection.execute("INSERT INTO bytes VALUES ('my canary7f3a'), ('\\x000102feff00'), ('b')")
    assert tables_with(connection, CANARY) == {"bytes": 2, "texts": 1}
    connection.execute("ANALYZE")
    assert tables_with(connection, CANARY) == {"bytes": 2, "pg_statistic": 2, "texts": 1}


def test_search_finds_canary_in_pages_until_vacuum(connection: Connection) -> None:
    connection.execute("INSERT INTO other.texts VALUES ('b'), ('canary7f3a')")
    assert pages_with(connection, CANARY).relations == {"other.texts", "other.indexed"}
    connection.execute("DELETE FROM other.texts WHERE value <> 'b'")
    assert pages_with(connection, CANARY).relations == {"other.texts", "other.indexed"}
    wait_until(lambda: _vacuum(connection) and not pages_with(connection, CANARY).relations)
    assert pages_with(connection, CANARY).unused == 2
    connection.execute("VACUUM FULL other.texts")
    assert pages_with(connection, CANARY).unused == 0


def _vacuum(connection: Connection) -> bool:
    """Run VACUUM, which leaves rows that an older transaction can see."""
    return connection.execute("VACUUM other.texts").statusmessage == "VACUUM"


@pytest.mark.parametrize(
    ("name", "content", "found"),
    [
        ("base/1", b"\0canary7f3a\0", ["base/1"]),
        ("base/1", b"\0\x01\x02\xfe\xff", ["base/1"]),
        ("base/1", b"\0canary7f3\0", []),
        ("pg_wal/1", b"canary7f3a", []),
    ],
)
def test_search_finds_canary_in_files(tmp_path: Path, name: str, content: bytes, found: list[str]) -> None:
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(content)
    assert files_with(tmp_path, CANARY) == found
