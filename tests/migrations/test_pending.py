"""Tests for pending revisions and the analysis of their locks."""

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import URL

from adapters.postgres.schema.pending import pending_revisions
from adapters.postgres.schema.state import SchemaState, schema_state
from migrations.sql.locks import collect_schema_objects, locking_statements, locks_of
from tests.migrations.revision_fixtures import EXPAND_HEAD, Revisions
from tests.support.database_fixture import DatabaseFixture, opened
from tests.support.polling import wait_until


async def test_pending_revisions_list_their_phases_and_locks(
    store: DatabaseFixture, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    own.add('op.add_column("users", sa.Column("a", sa.Text()))', revision="e1")
    own.add('op.drop_column("users", "full_name")', revision="c1", more='phase = "contract"\nsafe_from = "0.2.0"')
    monkeypatch.setattr(
        "adapters.postgres.schema.pending.script_directory", lambda: ScriptDirectory.from_config(own.config())
    )
    first, second = await pending_revisions(store.database)
    assert (first.revision, first.safe_from, second.safe_from) == ("e1", None, "0.2.0")
    assert first.lines() == [
        "pending: e1: Test e1 (expand)",
        "  ACCESS EXCLUSIVE on users: ALTER TABLE users ADD COLUMN a TEXT",
    ]
    assert second.lines()[0] == "pending: c1: Test c1 (contract, after all processes run release 0.2.0 or later)"


def test_lock_analysis_finds_tables_in_the_history(own: Revisions) -> None:
    own.add("""
        op.drop_index_concurrently("ix_posts_published_id", "posts")
        op.drop_constraint_if_exists("fk_idempotency_records_api_key_id_api_keys", "idempotency_records")
        op.add_foreign_key("fk_t", "idempotency_records", "users", ["subject_id"], ["id"])
        op.drop_constraint_if_exists("fk_t", "idempotency_records")
        op.drop_constraint_if_exists("ck_users_email_length", "users")
        op.execute("DROP TABLE idempotency_records, api_keys")
        op.execute("CREATE TABLE t (a uuid)")
        op.execute("CREATE INDEX ix_t ON t (a)")
        op.execute("DROP INDEX ix_t")
    """)
    scripts = ScriptDirectory.from_config(own.config())
    found = [
        taken
        for _, taken in locking_statements(
            scripts.get_revision(own.last), collect_schema_objects(scripts.walk_revisions())
        )
    ]
    assert found == [
        {"posts": "SHARE UPDATE EXCLUSIVE"},
        {"idempotency_records": "ACCESS EXCLUSIVE", "api_keys": "ACCESS EXCLUSIVE"},
        {"idempotency_records": "SHARE ROW EXCLUSIVE", "users": "SHARE ROW EXCLUSIVE"},
        {"idempotency_records": "SHARE UPDATE EXCLUSIVE"},
        {"idempotency_records": "ACCESS EXCLUSIVE", "users": "ACCESS EXCLUSIVE"},
        {"users": "ACCESS EXCLUSIVE"},
        {"idempotency_records": "ACCESS EXCLUSIVE", "api_keys": "ACCESS EXCLUSIVE", "users": "ACCESS EXCLUSIVE"},
    ]


async def test_pending_revisions_are_empty_for_current_schema(store: DatabaseFixture) -> None:
    assert await pending_revisions(store.database) == []


async def test_pending_revisions_are_all_for_empty_database(empty: URL, driver: str) -> None:
    async with opened(empty, driver) as store:
        found = await pending_revisions(store.database)
        assert await schema_state(store.database) is SchemaState.BEHIND
        await wait_until(lambda: store.checked_out == 0)
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
        ("DROP TABLE IF EXISTS a, b CASCADE", {"a": "ACCESS EXCLUSIVE", "b": "ACCESS EXCLUSIVE"}),
        ("\n  /* it */\n  DROP TABLE\n  a -- b", {"a": "ACCESS EXCLUSIVE"}),
        ("LOCK TABLE ONLY a, b", {"a": "ACCESS EXCLUSIVE", "b": "ACCESS EXCLUSIVE"}),
        ("LOCK a IN SHARE ROW EXCLUSIVE MODE NOWAIT", {"a": "SHARE ROW EXCLUSIVE"}),
        ("TRUNCATE a, ONLY b", {"a": "ACCESS EXCLUSIVE", "b": "ACCESS EXCLUSIVE"}),
        ("REINDEX TABLE t", {"t": "SHARE"}),
        ("REINDEX (VERBOSE) INDEX CONCURRENTLY i", {"i": "SHARE UPDATE EXCLUSIVE"}),
        ("ALTER INDEX i RENAME TO j", {"i": "SHARE UPDATE EXCLUSIVE"}),
        ("ALTER INDEX i SET TABLESPACE s", {"i": "ACCESS EXCLUSIVE"}),
        ("ANALYZE t, u", {"t": "SHARE UPDATE EXCLUSIVE", "u": "SHARE UPDATE EXCLUSIVE"}),
        ("ANALYZE VERBOSE t (a, b)", {"t": "SHARE UPDATE EXCLUSIVE"}),
        ("VACUUM t", {"t": "SHARE UPDATE EXCLUSIVE"}),
        ("VACUUM (FULL, ANALYZE) t", {"t": "ACCESS EXCLUSIVE"}),
        ("VACUUM FULL t", {"t": "ACCESS EXCLUSIVE"}),
        ("CLUSTER t USING i", {"t": "ACCESS EXCLUSIVE"}),
        ("ALTER TABLE t VALIDATE CONSTRAINT c, ADD COLUMN b text", {"t": "ACCESS EXCLUSIVE"}),
        ("ALTER TABLE t ALTER a SET STATISTICS 9", {"t": "SHARE UPDATE EXCLUSIVE"}),
        ("ALTER TABLE t DISABLE TRIGGER g", {"t": "SHARE ROW EXCLUSIVE"}),
    ],
)
def test_lock_analysis_of_statement(statement: str, expected: dict[str, str]) -> None:
    assert locks_of(statement) == expected
