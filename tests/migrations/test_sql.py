"""Tests for the parsing of SQL text, and for the analysis of its locks."""

import pytest

from migrations.sql.locks import SchemaObjects, locks_of
from migrations.sql.parser import alter_table_actions, mask_literals, split_statements
from tests.migrations.revision_fixtures import Revisions

ATOMIC = "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END"

RULE = "CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)"


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("", []),
        (" ; ;", []),
        ("SELECT 1;SELECT 2", ["SELECT 1", "SELECT 2"]),
        ("SELECT 'a;b', 'it''s; so'; SELECT 2", ["SELECT 'a;b', 'it''s; so'", "SELECT 2"]),
        (r"SELECT E'\';'; SELECT '\'; SELECT 3", [r"SELECT E'\';'", r"SELECT '\'", "SELECT 3"]),
        ('SELECT "a;b"; SELECT 2', ['SELECT "a;b"', "SELECT 2"]),
        ("DO $$ a;\n\nb $$; SELECT $x$ $$;$y$ $x$", ["DO $$ a;\n\nb $$", "SELECT $x$ $$;$y$ $x$"]),
        ("SELECT a$b$c; SELECT $1; SELECT d$b$e", ["SELECT a$b$c", "SELECT $1", "SELECT d$b$e"]),
        ("/* a; /* b; */ c; */ SELECT -- d;\n 1", ["SELECT 1"]),
        ("SELECT '/*'; SELECT '*/ --'", ["SELECT '/*'", "SELECT '*/ --'"]),
        ("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2); SELECT 3", [RULE, "SELECT 3"]),
        (f"{ATOMIC}; SELECT 3", [ATOMIC, "SELECT 3"]),
        ("BEGIN; SELECT 1; END", ["BEGIN", "SELECT 1", "END"]),
    ],
)
def test_split_statements_handles_quotes_and_comments(sql: str, expected: list[str]) -> None:
    assert list(split_statements(sql)) == expected


def test_mask_literals_keeps_quoted_names() -> None:
    assert mask_literals("SELECT 'UPDATE', $$ DELETE $$, \"a b\"") == "SELECT '', '', \"a b\""


def test_alter_table_actions_splits_at_top_level_commas() -> None:
    statement = "ALTER TABLE IF EXISTS ONLY a.t ADD COLUMN b numeric(1, 2) DEFAULT ',', ADD CHECK (b IN (1, 2))"
    assert alter_table_actions(statement) == ["ADD COLUMN b numeric(1, 2) DEFAULT ','", "ADD CHECK (b IN (1, 2))"]
    assert alter_table_actions("DROP TABLE a, b") == []


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
    scripts = own.scripts()
    found = SchemaObjects(scripts.walk_revisions()).locking_statements(scripts.get_revision(own.last))
    assert [locks for _, locks in found] == [
        {"posts": "SHARE UPDATE EXCLUSIVE"},
        {"idempotency_records": "ACCESS EXCLUSIVE", "api_keys": "ACCESS EXCLUSIVE"},
        {"idempotency_records": "SHARE ROW EXCLUSIVE", "users": "SHARE ROW EXCLUSIVE"},
        {"idempotency_records": "SHARE UPDATE EXCLUSIVE"},
        {"idempotency_records": "ACCESS EXCLUSIVE", "users": "ACCESS EXCLUSIVE"},
        {"users": "ACCESS EXCLUSIVE"},
        {"idempotency_records": "ACCESS EXCLUSIVE", "api_keys": "ACCESS EXCLUSIVE", "users": "ACCESS EXCLUSIVE"},
    ]


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
