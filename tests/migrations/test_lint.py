"""Tests for the rules of the migration linter."""

import textwrap
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from migrations.lint.linter import Finding, lint, lint_revision
from migrations.lint.source_checks import select_star
from migrations.runner.alembic_config import alembic_config
from tests.migrations.revision_fixtures import EXPAND_HEAD, Revisions

UNSAFE = {
    "unbatched-write": """op.execute("UPDATE users SET full_name = 'x' WHERE full_name IS NULL")""",
    "multi-table-lock": """
        op.add_column("users", sa.Column("a", sa.Text()))
        op.add_column("posts", sa.Column("a", sa.Text()))
    """,
    "table-rewrite": 'op.alter_column("users", "version", type_=sa.BigInteger())',
    "not-idempotent": """
        op.add_column("users", sa.Column("a", sa.Text()))
        op.create_index_concurrently("ix_a", "users", ["a"])
    """,
    "timeout-override": """op.execute("SET LOCAL lock_timeout = 0")""",
    "internal-import": "from migrations.operations.steps import steps",
    "require-concurrent-index-creation": 'op.create_index("ix_t", "posts", ["title"])',
    "require-concurrent-index-deletion": 'op.drop_index("ix_posts_id", "posts")',
    "adding-foreign-key-constraint": (
        'op.create_foreign_key("fk", "idempotency_records", "users", ["subject_id"], ["id"])'
    ),
    "constraint-missing-not-valid": 'op.create_check_constraint("ck_t", "users", "version > 0")',
    "adding-not-nullable-field": 'op.alter_column("users", "full_name", nullable=False)',
    "disallowed-unique-constraint": 'op.create_unique_constraint("uq_t", "users", ["email"])',
    "ban-drop-column": 'op.drop_column("users", "full_name")',
    "ban-drop-table": 'op.drop_table("idempotency_records")',
    "renaming-column": 'op.alter_column("users", "full_name", new_column_name="name")',
    "adding-field-with-default": """
        op.add_column("users", sa.Column("a", sa.Uuid(), server_default=sa.text("gen_random_uuid()")))
    """,
}
DELETES = """op.execute("WITH d AS (DELETE FROM posts WHERE version = 1 RETURNING id) SELECT count(id) FROM d")"""
MORE_UNSAFE = [
    ("unbatched-write", DELETES),
    ("unbatched-write", 'op.execute("DELETE FROM posts")'),
    ("unbatched-write", 'op.execute("DO $$ BEGIN UPDATE posts SET version = 2; END $$")'),
    ("table-rewrite", 'op.execute("ALTER TABLE posts ADD COLUMN n integer GENERATED ALWAYS AS (version + 1) STORED")'),
    ("table-rewrite", 'op.execute("ALTER TABLE posts SET UNLOGGED")'),
    ("table-rewrite", 'op.execute("VACUUM FULL posts")'),
    ("multi-table-lock", 'op.execute("DROP TABLE posts"); op.execute("DROP TABLE idempotency_records")'),
]
COMBINED_SQL = [
    "SET search_path = public; ALTER TABLE users ADD COLUMN a text",
    "ALTER TABLE users ADD COLUMN a text;\nUPDATE users SET a = 'x'",
    "ALTER TABLE users ADD COLUMN a text;ALTER TABLE posts ADD COLUMN a text",
]
UNSAFE_SQL = [
    ("unbatched-write", "INSERT INTO users (id, email) SELECT id, email FROM others"),
    ("unbatched-write", "INSERT INTO users (id) (TABLE others)"),
    ("unbatched-write", "INSERT INTO users (id) SELECT id FROM others, (VALUES (1)) AS v"),
    ("unbatched-write", "/* fill /* it */ */ UPDATE users SET version = 2"),
    ("unbatched-write", "-- fill\n\n  -- it\nUPDATE users SET version = 2"),
    ("unbatched-write", "COPY users FROM '/tmp/users'"),
    ("unbatched-write", "EXPLAIN ANALYZE UPDATE users SET version = 2"),
    ("opaque-function-call", "SELECT fill()"),
    ("opaque-function-call", "CALL p()"),
    ("opaque-function-call", "DO $$ BEGIN PERFORM fill(); END $$"),
    *[("multiple-statements", sql) for sql in COMBINED_SQL],
    ("unbatched-write", COMBINED_SQL[1]),
    ("multi-table-lock", COMBINED_SQL[2]),
    ("multi-table-lock", "TRUNCATE users, posts"),
    ("multi-table-lock", "LOCK TABLE users, posts IN SHARE MODE"),
    ("explicit-transaction-control", "COMMIT"),
    ("table-rewrite", "ALTER TABLE users ADD COLUMN a text, ALTER COLUMN version SET DATA TYPE bigint"),
    ("table-rewrite", "REINDEX TABLE users"),
]
AUTOCOMMIT_BLOCK = """
    with op.get_context().autocommit_block():
        op.create_index("ix_t", "posts", ["title"], postgresql_concurrently=True)
"""
MORE_UNSAFE += [("raw-concurrently", AUTOCOMMIT_BLOCK)]
MORE_UNSAFE += [
    ("multi-table-lock", """op.execute("LOCK TABLE users"); op.execute("ALTER TABLE posts ADD COLUMN a text")""")
]
MORE_UNSAFE += [(rule, f"op.execute({sql!r})") for rule, sql in UNSAFE_SQL]
MORE_UNSAFE += [
    (
        "not-idempotent",
        """
        op.execute("ALTER TABLE users ADD COLUMN IF NOT EXISTS a text, ADD COLUMN b text")
        op.create_index_concurrently("ix_a", "users", ["a"])
        """,
    ),
    (
        "not-idempotent",
        """
        op.execute("ALTER TABLE IF EXISTS users ADD COLUMN b text")
        op.create_index_concurrently("ix_a", "users", ["b"])
        """,
    ),
    ("offline-dependent", "if not op.get_context().as_sql: op.execute('UPDATE users SET version = 2')"),
    ("internal-import", "import migrations.operations.backfill"),
    ("internal-import", "from migrations import runner"),
    ("offline-dependent", "op.get_bind().execute(sa.text('SELECT 1'))"),
]
CONTRACT = 'phase = "contract"\nsafe_from = "0.1.0"'


def _findings(own: Revisions) -> list[Finding]:
    script = ScriptDirectory.from_config(own.config()).get_revision(own.last)
    return list(lint_revision(script))


@pytest.mark.parametrize(("rule", "upgrade"), [*UNSAFE.items(), *MORE_UNSAFE])
def test_lint_rejects_unsafe_revision(own: Revisions, rule: str, upgrade: str) -> None:
    own.add(upgrade, 'op.execute("COMMENT ON TABLE users IS NULL")')
    assert rule in {finding.rule for finding in _findings(own) if finding.reason is None}


TRIGGER = """CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := 2;

  UPDATE users SET version = 1;

  RETURN NEW;
END $$"""
INDEX = ('op.create_index_concurrently("ix_t", "users", ["version"])', 'op.drop_index_concurrently("ix_t", "users")')
FINE = {
    "a column named type": ('op.add_column("users", sa.Column("type", sa.Text()))', "op.drop_column('users', 'type')"),
    "a column named serial": ('op.execute("ALTER TABLE users ADD COLUMN serial text")', "op.drop_column('users', 'a')"),
    "a function that writes": (f"op.execute({TRIGGER!r})", 'op.execute("DROP FUNCTION f()")'),
    "quoted SQL": (
        "op.execute(\"COMMENT ON TABLE users IS 'DELETE FROM users; COMMIT'\")",
        "op.execute('COMMENT ON TABLE users IS NULL')",
    ),
    "function created with the version": (
        f'{INDEX[0]}\nop.execute("CREATE FUNCTION f() RETURNS int RETURN 1")',
        f'{INDEX[1]}\nop.execute("DROP FUNCTION f()")',
    ),
    "inserted values": (
        """op.execute("INSERT INTO users (id, email) VALUES (gen_random_uuid(), 'SELECT')")""",
        "op.execute('COMMENT ON TABLE users IS NULL')",
    ),
    "repeatable statement": (f'op.execute("ALTER TABLE users ALTER id SET STATISTICS 9")\n{INDEX[0]}', INDEX[1]),
}


@pytest.mark.parametrize(("upgrade", "downgrade"), FINE.values(), ids=FINE)
def test_lint_accepts_revision_that_only_looks_unsafe(own: Revisions, upgrade: str, downgrade: str) -> None:
    own.add(upgrade, downgrade)
    assert [str(finding) for finding in _findings(own)] == []


def test_lint_accepts_removed_constraint_in_contract_revision(own: Revisions) -> None:
    own.add(
        'op.drop_constraint_if_exists("fk_idempotency_records_api_key_id_api_keys", "idempotency_records")',
        'op.add_foreign_key("fk_idempotency_records_api_key_id_api_keys", "idempotency_records", "api_keys", '
        '["api_key_id"], ["id"])',
        more=CONTRACT,
    )
    assert [str(finding) for finding in _findings(own)] == []


def test_lint_exception_applies_to_matching_statements(own: Revisions) -> None:
    upgrade = "op.execute('DELETE FROM users WHERE version = 1'); op.execute('DELETE FROM posts WHERE version = 1')"
    for more, refused in (
        ('{"unbatched-write": "ten rows"}', 2),
        ('{"unbatched-write: DELETE FROM users": "ten rows"}', 1),
        ('{"unbatched-write: FROM users": "ten rows", "unbatched-write: FROM posts": "and two"}', 0),
        ('{"unbatched": "ten rows", "write: DELETE": "ten"}', 2),
    ):
        own.last = EXPAND_HEAD
        own.add(upgrade, "op.execute('COMMENT ON TABLE users IS NULL')", more=f"exceptions = {more}")
        assert len([finding for finding in _findings(own) if finding.reason is None]) == refused, more


def test_lint_prints_the_reason_of_an_exception(own: Revisions) -> None:
    own.add(
        UNSAFE["require-concurrent-index-creation"],
        'op.execute("COMMENT ON TABLE users IS NULL")',
        more='exceptions = {"require-concurrent-index-creation": "posts are empty"}',
    )
    (finding,) = _findings(own)
    assert "(allowed: posts are empty)" in str(finding)


def test_lint_rejects_missing_downgrade(own: Revisions) -> None:
    own.add('op.add_column("users", sa.Column("a", sa.Text()))')
    assert [finding.rule for finding in _findings(own)] == ["no-downgrade"]


def test_lint_rejects_contract_revision_of_later_release(own: Revisions) -> None:
    own.add(UNSAFE["ban-drop-column"], 'op.add_column("users", sa.Column("full_name", sa.Text()))', more=CONTRACT)
    assert _findings(own) == []
    own.add(
        UNSAFE["ban-drop-column"],
        'op.add_column("users", sa.Column("full_name", sa.Text()))',
        more=CONTRACT.replace("0.1.0", "9.0.0"),
    )
    assert [finding.rule for finding in _findings(own)] == ["phase"]


def test_lint_rejects_missing_phase(own: Revisions) -> None:
    own.add("pass", more="phase = None")
    (finding,) = lint(ScriptDirectory.from_config(own.config()))
    assert (finding.rule, "declares no phase" in finding.message) == ("phase", True)


def test_lint_rejects_two_lines_of_a_phase(own: Revisions) -> None:
    first = own.last
    own.add("pass")
    own.last = first
    own.add("pass")
    (finding,) = lint(ScriptDirectory.from_config(own.config()))
    assert "must form one line" in finding.message


SAFE = """
    op.add_column("users", sa.Column("a", sa.Uuid()), if_not_exists=True)
    op.backfill("users", "a = id", where="a IS NULL")
    op.add_not_null("users", "a")
    op.create_index_concurrently("ix_a", "users", ["a"], postgresql_where=sa.text("is_active"))
    op.add_unique("uq_a", "users", ["a"])
    op.add_check("ck_a", "users", "a <> id OR a IS NULL")
    op.add_foreign_key("fk_a", "idempotency_records", "users", ["subject_id"], ["id"])
"""


def test_lint_accepts_safe_operations(own: Revisions) -> None:
    own.add(
        SAFE,
        'op.drop_constraint_if_exists("fk_a", "idempotency_records")\nop.drop_column("users", "a", if_exists=True)',
    )
    assert [str(finding) for finding in _findings(own)] == []


def test_lint_accepts_release_revisions() -> None:
    assert [str(finding) for finding in lint(ScriptDirectory.from_config(alembic_config())) if not finding.reason] == []


def test_select_star_finds_star_in_code(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text(
        textwrap.dedent("""
            FINE = "SELECT count(*) FROM users"
            BAD = "select u.* from users u"
            WORSE = f"INSERT INTO {FINE} VALUES (1) RETURNING *"
            DISTINCT = "SELECT DISTINCT * FROM users"
            AMONG = "SELECT a, t.*\\nFROM users AS t"
            FORMED = f"SELECT {FINE}, {FINE}.* FROM users"
            TIMES = "SELECT a * 2, b FROM users"
            PRODUCT = f"SELECT {FINE} * {FINE} FROM users"
        """)
    )
    assert [line.split(":")[1] for line in select_star(tmp_path)] == ["3", "4", "5", "6", "7"]
