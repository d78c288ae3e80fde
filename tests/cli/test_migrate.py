"""`hexapost migrate` and `hexapost check`, beyond what other tests run."""

import asyncio

import pytest
from sqlalchemy import URL

from adapters.cli import migrate
from adapters.cli.check import seen
from adapters.cli.errors import NotReadyError
from adapters.settings import load_settings
from migrations.patience import MigrationError


def test_a_revision_that_was_not_applied_is_a_complaint(scratch: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise MigrationError("adding constraint x: no lock")

    monkeypatch.setattr(migrate, "upgrade", fails)
    with pytest.raises(NotReadyError, match="adding constraint x: no lock"):
        migrate.migrate(scratch)


def test_what_is_missing_is_told(empty: URL, scratch: URL) -> None:
    settings = load_settings({})
    assert asyncio.run(seen(scratch, settings)) == (
        {"database": (True, "reachable"), "migrations": (True, "current")},
        [],
    )
    _, lines = asyncio.run(seen(empty, settings))
    assert lines[0] == "pending: ccc0279a8e0d: users and posts (expand)"
    assert any(line.startswith("  SHARE ROW EXCLUSIVE on users: CREATE TABLE api_keys") for line in lines)


def test_a_server_that_is_not_there_misses_nothing() -> None:
    url = URL.create("postgresql+asyncpg", "x", database="x", query={"host": "/nowhere/at/all"})
    assert asyncio.run(seen(url, load_settings({}))) == (
        {"database": (False, "unreachable"), "migrations": (False, "unknown")},
        [],
    )
