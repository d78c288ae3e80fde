"""What an operator is told of revisions that are missing."""

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from adapters.postgres.pending import pending
from migrations.locking import locks
from migrations.phases import Phase
from tests.migrations.revisions import EXPAND_HEAD, Revisions
from tests.support.stores import opened


async def test_pending_revisions_and_their_locks(
    scratch: URL, driver: str, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.add('op.add_column("users", sa.Column("a", sa.Text()))', revision="e1")
    own.add('op.drop_column("users", "full_name")', revision="c1", more='phase = "contract"\nsafe_from = "0.2.0"')
    monkeypatch.setattr("adapters.postgres.pending.scripts", lambda: ScriptDirectory.from_config(own.config()))
    async with opened(scratch, driver) as store:
        (first, second) = await pending(store.database)
    assert (first.revision, first.phase, second.phase) == ("e1", Phase.EXPAND, Phase.CONTRACT)
    assert first.lines() == [
        "pending: e1: Test e1 (expand)",
        "  ACCESS EXCLUSIVE on users: ALTER TABLE users ADD COLUMN a TEXT",
    ]
    assert second.lines()[0] == "pending: c1: Test c1 (contract, when every process is of release 0.2.0 or later)"


async def test_nothing_is_pending(scratch: URL, driver: str) -> None:
    async with opened(scratch, driver) as store:
        assert await pending(store.database) == []


async def test_everything_is_pending(empty: URL, driver: str) -> None:
    async with opened(empty, driver) as store:
        found = await pending(store.database)
    assert found[-1].revision == EXPAND_HEAD


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("CREATE TABLE t (a uuid REFERENCES users (id))", {"t": "NEW", "users": "SHARE ROW EXCLUSIVE"}),
        ("CREATE UNIQUE INDEX CONCURRENTLY i ON t (a)", {"t": "SHARE UPDATE EXCLUSIVE"}),
        ("CREATE INDEX i ON t (a)", {"t": "SHARE"}),
        ("DROP INDEX CONCURRENTLY IF EXISTS i", {"i": "SHARE UPDATE EXCLUSIVE"}),
        ("ALTER TABLE t VALIDATE CONSTRAINT c", {"t": "SHARE UPDATE EXCLUSIVE"}),
        (
            "ALTER TABLE t ADD CONSTRAINT c FOREIGN KEY (a) REFERENCES users (id) NOT VALID",
            {"t": "SHARE ROW EXCLUSIVE", "users": "SHARE ROW EXCLUSIVE"},
        ),
        ("ALTER TABLE t ADD COLUMN a text", {"t": "ACCESS EXCLUSIVE"}),
        ("CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION f()", {"t": "SHARE ROW EXCLUSIVE"}),
        ("WITH b AS (SELECT 1) UPDATE t SET a = 1", {"t": "ROW EXCLUSIVE"}),
        ("COMMENT ON TABLE t IS 'x'", {}),
    ],
)
def test_the_locks_of_a_statement(statement: str, expected: dict[str, str]) -> None:
    assert locks(statement) == expected
