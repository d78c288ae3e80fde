"""Tests for the lock trace of revisions."""

import pytest
from sqlalchemy import URL

from migrations.lint import lock_trace as module
from migrations.lint.lock_trace import format_report, trace, violations
from migrations.runner.lock_retry import MigrationError
from tests.migrations.revision_fixtures import CONTRACT_HEAD, SAFE_OPERATIONS, Revisions

ADD = 'op.add_column("users", sa.Column("a", sa.Text()))'
SAFE_INDEX = 'op.create_index_concurrently("ix_t", "posts", ["title"])'
UPDATE = 'op.execute("UPDATE posts SET version = version + 1")'
ANY_AUTHOR = "author_id >= '00000000-0000-0000-0000-000000000000'"
INDEX_SCAN = 'op.execute("SET LOCAL enable_seqscan = off"); op.execute("{} WHERE {}")'
INDEX_UPDATE = INDEX_SCAN.format("UPDATE posts SET version = 2", ANY_AUTHOR)
INDEX_SELECT = INDEX_SCAN.format("SELECT count(*) FROM posts", ANY_AUTHOR)
FUNCTION = 'op.execute("CREATE FUNCTION f() RETURNS void LANGUAGE sql AS \'{}\'"); op.execute("SELECT f()")'
UNSAFE = [
    ('op.alter_column("users", "full_name", nullable=False)', "scan-under-lock"),
    ('op.create_check_constraint("ck_t", "users", "version > 0")', "scan-under-lock"),
    ('op.create_foreign_key("fk_t", "idempotency_records", "users", ["subject_id"], ["id"])', "scan-under-lock"),
    ('op.create_index("ix_t", "posts", ["title"])', "scan-under-lock"),
    ('op.create_unique_constraint("uq_t", "users", ["email"])', "scan-under-lock"),
    ('op.alter_column("users", "version", type_=sa.Numeric())', "rewrite-under-lock"),
    ('op.execute("ALTER TABLE users ADD COLUMN a uuid DEFAULT gen_random_uuid()")', "rewrite-under-lock"),
    ('op.execute("ALTER TABLE users ADD COLUMN a int GENERATED ALWAYS AS (1) STORED")', "rewrite-under-lock"),
    ('op.execute("ALTER TABLE idempotency_records SET UNLOGGED")', "rewrite-under-lock"),
    ('op.execute("REINDEX TABLE users")', "rewrite-under-lock"),
    ('with op.get_context().autocommit_block(): op.execute("VACUUM FULL users")', "rewrite-under-lock"),
    (f"{ADD}\n{UPDATE}", "scan-under-lock unbatched-write"),
    (f"{ADD}\n{INDEX_UPDATE}", "scan-under-lock unbatched-write"),
    (f"{ADD}\n{INDEX_SELECT}", "scan-under-lock"),
    (FUNCTION.format("UPDATE users SET version = version + 1"), "unbatched-write"),
    (FUNCTION.format("ALTER TABLE users ALTER COLUMN full_name SET NOT NULL"), "scan-under-lock"),
    (
        "op.execute('/* it */ DO $$ BEGIN EXECUTE $x$DELETE FROM posts WHERE version < 9$x$; END $$')",
        "unbatched-write",
    ),
]


@pytest.fixture(autouse=True)
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept long locks: the machine may be slow."""
    monkeypatch.setattr(module, "MAX_BLOCKING_MILLISECONDS", 60_000.0)


def _traced(own: Revisions, url: URL) -> tuple[list[str], list[str]]:
    """Trace the last revision; return its lines, and its findings with their reasons."""
    ((script, seen),) = trace(own.config(url), url, 1000, only=own.last)
    findings = [f"{each.rule}: {each.reason}" if each.reason else each.rule for each in violations(script, seen)]
    return list(format_report(script, seen)), findings


@pytest.mark.parametrize(("upgrade", "rules"), UNSAFE)
def test_lock_trace_rejects_unsafe_revision(scratch: URL, own: Revisions, upgrade: str, rules: str) -> None:
    own.add(upgrade)
    table, findings = _traced(own, scratch)
    assert findings == rules.split(), table


def test_lock_trace_rejects_slow_statements_under_lock(
    scratch: URL, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BLOCKING_MILLISECONDS", 50.0)
    own.add(ADD + 2 * '\nop.execute("SELECT pg_sleep(0.03)")')
    table, findings = _traced(own, scratch)
    assert set(findings) == {"slow-under-lock"}, table


def test_lock_trace_accepts_safe_operations(scratch: URL, own: Revisions) -> None:
    own.add(SAFE_OPERATIONS)
    table, findings = _traced(own, scratch)
    assert (findings, len(table) > 10) == ([], True), table
    batches = [line for line in table if "| WITH " in line]
    assert len([line for line in batches if " x " in line]) == len(batches) == 3, "the second backfill computes"


def test_lock_trace_disables_parallel_workers(scratch: URL, own: Revisions) -> None:
    own.add("op.execute(\"DO $$ BEGIN ASSERT current_setting('max_parallel_maintenance_workers') = '0'; END $$\")")
    assert _traced(own, scratch)[1] == []


def test_lock_trace_rejects_unsafe_downgrade(empty: URL, own: Revisions) -> None:
    own.add(ADD, 'op.drop_column("users", "a")\nop.execute("UPDATE users SET version = 1")', revision="e1")
    own.last = CONTRACT_HEAD
    own.add("pass", revision="c1", more='phase = "contract"; safe_from = "0.1.0"; depends_on = "e1"')
    own.last = "e1"
    own.add(SAFE_INDEX, 'op.drop_index_concurrently("ix_t", "posts")')
    first, second = [
        (
            [line.split("|")[0].strip() for line in format_report(script, seen)],
            [finding.rule for finding in violations(script, seen)],
        )
        for script, seen in trace(own.config(empty), empty, 1000)
        if script.revision in {"e1", own.last}
    ]
    assert first == (["e1", "e1 undone", "e1 undone"], ["scan-under-lock", "unbatched-write"])
    assert second == ([own.last, f"{own.last} undone"], [])


def test_lock_trace_prints_locks_and_scans(scratch: URL, own: Revisions) -> None:
    own.add(f'{SAFE_INDEX}\nop.add_not_null("users", "full_name")')
    (build, add, validate), _ = _traced(own, scratch)
    assert "SHARE UPDATE EXCLUSIVE on posts" in build
    assert "ACCESS EXCLUSIVE on users" in add
    assert "scans" not in add
    assert ("SHARE UPDATE EXCLUSIVE on users" in validate, "scans users" in validate) == (True, True)


def test_lock_trace_exception_has_reason(scratch: URL, own: Revisions) -> None:
    own.add('op.create_index("ix_t", "posts", ["title"])', more='exceptions = {"scan-under-lock": "at most ten rows"}')
    assert _traced(own, scratch)[1] == ["scan-under-lock: at most ten rows"]


def test_lock_trace_rejects_table_without_sample_rows(scratch: URL, own: Revisions) -> None:
    own.add('op.create_table("comments", sa.Column("id", sa.Uuid(), primary_key=True))')
    with pytest.raises(MigrationError, match="no sample rows for table comments"):
        _traced(own, scratch)
