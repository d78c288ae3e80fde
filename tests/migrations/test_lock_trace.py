"""Tests for the lock trace of revisions."""

import pytest
from sqlalchemy import URL

from migrations.lint import lock_trace as module
from migrations.lint.lock_trace import format_report, trace, violations
from migrations.lint.sample_rows import MissingSampleRowsError
from tests.migrations.revision_fixtures import Revisions

UNSAFE = {
    "set not null": ('op.alter_column("users", "full_name", nullable=False)', "scan-under-lock"),
    "check": ('op.create_check_constraint("ck_t", "users", "version > 0")', "scan-under-lock"),
    "foreign key": (
        'op.create_foreign_key("fk_t", "idempotency_records", "users", ["subject_id"], ["id"])',
        "scan-under-lock",
    ),
    "index": ('op.create_index("ix_t", "posts", ["title"])', "scan-under-lock"),
    "unique": ('op.create_unique_constraint("uq_t", "users", ["email"])', "scan-under-lock"),
    "type": ('op.alter_column("users", "version", type_=sa.BigInteger())', "rewrite-under-lock"),
    "default": (
        'op.add_column("users", sa.Column("a", sa.Uuid(), server_default=sa.text("gen_random_uuid()")))',
        "rewrite-under-lock",
    ),
    "scan after lock": (
        """
        op.add_column("users", sa.Column("a", sa.Text()))
        op.execute("UPDATE posts SET version = version + 1")
        """,
        "scan-under-lock unbatched-write",
    ),
    "update by index after lock": (
        """
        op.add_column("posts", sa.Column("a", sa.Text()))
        op.execute("SET LOCAL enable_seqscan = off")
        op.execute("UPDATE posts SET version = 2 WHERE author_id >= '00000000-0000-0000-0000-000000000000'")
        """,
        "scan-under-lock unbatched-write",
    ),
    "index-only after lock": (
        """
        op.add_column("users", sa.Column("a", sa.Text()))
        op.execute("SET LOCAL enable_seqscan = off")
        op.execute("SELECT count(*) FROM posts WHERE author_id >= '00000000-0000-0000-0000-000000000000'")
        """,
        "scan-under-lock",
    ),
    "function": (
        """
        op.execute("CREATE FUNCTION fill() RETURNS void LANGUAGE sql AS 'UPDATE users SET version = version + 1'")
        op.execute("SELECT fill()")
        """,
        "unbatched-write",
    ),
    "function with DDL": (
        """
        op.execute(
            "CREATE FUNCTION change() RETURNS void LANGUAGE sql"
            " AS 'ALTER TABLE users ALTER COLUMN full_name SET NOT NULL'"
        )
        op.execute("SELECT change()")
        """,
        "scan-under-lock",
    ),
    "block": (
        "op.execute('/* it */ DO $$ BEGIN EXECUTE $x$DELETE FROM posts WHERE version < 9$x$; END $$')",
        "unbatched-write",
    ),
}
SLOW = """
    op.add_column("users", sa.Column("a", sa.Text()))
    op.execute("SELECT pg_sleep(0.03)")
    op.execute("SELECT pg_sleep(0.03)")
"""
SAFE = {
    "not null": 'op.add_not_null("users", "full_name")',
    "check": 'op.add_check("ck_t", "users", "version > 0")',
    "foreign key": 'op.add_foreign_key("fk_t", "idempotency_records", "users", ["subject_id"], ["id"])',
    "index": 'op.create_index_concurrently("ix_t", "posts", ["title"])',
    "unique": 'op.add_unique("uq_t", "users", ["email"])',
    "column": 'op.add_column("users", sa.Column("a", sa.Integer(), server_default="1"))',
    "backfill": """op.backfill("posts", "title = title || '%'", key=("author_id", "id"), batch=300)""",
}


@pytest.fixture(autouse=True)
def _lenient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accept long locks: the machine may be slow."""
    monkeypatch.setattr(module, "MAX_BLOCKING_MILLISECONDS", 60_000.0)


def _traced(own: Revisions, url: URL) -> tuple[list[str], list[str]]:
    ((script, seen),) = trace(own.config(url), url, 1000, only=own.last)
    return list(format_report(script, seen)), [
        finding.rule for finding in violations(script, seen) if finding.reason is None
    ]


@pytest.mark.parametrize(("upgrade", "rule"), UNSAFE.values(), ids=UNSAFE)
def test_lock_trace_rejects_unsafe_revision(scratch: URL, own: Revisions, upgrade: str, rule: str) -> None:
    own.add(upgrade)
    table, findings = _traced(own, scratch)
    assert findings == rule.split(), table


def test_lock_trace_rejects_slow_statements_under_lock(
    scratch: URL, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_BLOCKING_MILLISECONDS", 50.0)
    own.add(SLOW)
    table, findings = _traced(own, scratch)
    assert set(findings) == {"slow-under-lock"}, table


@pytest.mark.parametrize("upgrade", SAFE.values(), ids=SAFE)
def test_lock_trace_accepts_safe_operation(scratch: URL, own: Revisions, upgrade: str) -> None:
    own.add(upgrade)
    table, findings = _traced(own, scratch)
    assert (findings, table != []) == ([], True), table


def test_lock_trace_rejects_unsafe_downgrade(scratch: URL, own: Revisions) -> None:
    own.add(SAFE["column"], 'op.drop_column("users", "a")\nop.execute("UPDATE users SET version = 1")', revision="e1")
    own.add("pass", revision="c1", more='phase = "contract"; safe_from = "0.1.0"')
    own.last = "e1"
    own.add(SAFE["index"], 'op.drop_index_concurrently("ix_t", "posts")')
    first, second = [
        (
            [line.split("|")[0].strip() for line in format_report(script, seen)],
            [finding.rule for finding in violations(script, seen)],
        )
        for script, seen in trace(own.config(scratch), scratch, 1000)
        if script.revision in {"e1", own.last}
    ]
    assert first == (["e1", "e1 undone", "e1 undone"], ["scan-under-lock", "unbatched-write"])
    assert second == ([own.last, f"{own.last} undone"], [])


def test_lock_trace_disables_parallel_workers(scratch: URL, own: Revisions) -> None:
    own.add("op.execute(\"DO $$ BEGIN ASSERT current_setting('max_parallel_maintenance_workers') = '0'; END $$\")")
    assert _traced(own, scratch)[1] == []


def test_lock_trace_prints_locks_and_scans(scratch: URL, own: Revisions) -> None:
    own.add('op.create_index_concurrently("ix_t", "posts", ["title"])\nop.add_not_null("users", "full_name")')
    (build, add, validate), _ = _traced(own, scratch)
    assert "SHARE UPDATE EXCLUSIVE on posts" in build
    assert "ACCESS EXCLUSIVE on users" in add
    assert "scans" not in add
    assert ("SHARE UPDATE EXCLUSIVE on users" in validate, "scans users" in validate) == (True, True)


def test_lock_trace_exception_has_reason(scratch: URL, own: Revisions) -> None:
    own.add(UNSAFE["index"][0], more='exceptions = {"scan-under-lock": "ten rows at the most"}')
    ((script, seen),) = trace(own.config(scratch), scratch, 1000, only=own.last)
    assert [finding.reason for finding in violations(script, seen)] == ["ten rows at the most"]


def test_lock_trace_rejects_table_without_sample_rows(scratch: URL, own: Revisions) -> None:
    own.add('op.create_table("comments", sa.Column("id", sa.Uuid(), primary_key=True))')
    with pytest.raises(MissingSampleRowsError, match="comments"):
        list(trace(own.config(scratch), scratch, 1000, only=own.last))
