"""Tests for the rules of the migration linter."""

import textwrap
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory

from adapters.postgres.schema import upgrade as upgrade_module
from adapters.postgres.schema.upgrade import upgrade
from migrations.lint import linter
from migrations.lint.linter import lint, lint_revision, select_star
from migrations.runner.alembic_config import alembic_config
from migrations.runner.lock_retry import MigrationError
from tests.migrations.revision_fixtures import EXPAND_HEAD, SAFE_OPERATIONS, RevisedDatabase, Revisions

UNDO = 'op.execute("COMMENT ON TABLE users IS NULL")'
ADD = 'op.add_column("users", sa.Column("a", sa.Text()))'
DROP = 'op.drop_column("users", "full_name")'
INDEX = 'op.create_index("ix_t", "posts", ["title"])'
SAFE_INDEX = 'op.create_index_concurrently("ix_t", "users", ["version"])'
NEW_TABLE = """
op.create_table(
    "likes",
    sa.Column("id", sa.Uuid(), primary_key=True),
    sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id")),
    sa.Column("key_id", sa.Uuid(), sa.ForeignKey("api_keys.id")),
)
op.create_index("ix_likes_user_id", "likes", ["user_id"])
"""
UNSAFE = [
    ("multi-table-lock", f'{ADD}\nop.add_column("posts", sa.Column("a", sa.Text()))'),
    ("multi-table-lock", f'{NEW_TABLE}\nop.add_column("users", sa.Column("a", sa.Text()))'),
    ("multi-table-lock", f"{ADD}\n{NEW_TABLE}"),
    ("multi-table-lock", f'{NEW_TABLE}\nop.create_foreign_key("fk", "posts", "users", ["id"], ["id"])'),
    ("multi-table-lock", f'{NEW_TABLE}\nop.execute("LOCK users IN SHARE ROW EXCLUSIVE MODE")'),
    ("not-idempotent", f"{ADD}\n{SAFE_INDEX}"),
    ("raw-concurrently", f"with op.get_context().autocommit_block():\n    {INDEX[:-1]}, postgresql_concurrently=True)"),
    ("internal-import", "from migrations.operations.steps import steps"),
    ("internal-import", "import migrations.operations.backfill"),
    ("internal-import", "from migrations import runner"),
    ("offline-dependent", "if not op.get_context().as_sql: op.execute('UPDATE users SET version = 2')"),
    ("offline-dependent", "op.get_bind().execute(sa.text('SELECT 1'))"),
    ("require-concurrent-index-creation", INDEX),
    ("require-concurrent-index-deletion", 'op.drop_index("ix_posts_id", "posts")'),
    ("adding-foreign-key-constraint", 'op.create_foreign_key("fk", "posts", "users", ["id"], ["id"])'),
    ("constraint-missing-not-valid", 'op.create_check_constraint("ck_t", "users", "version > 0")'),
    ("adding-not-nullable-field", 'op.alter_column("users", "full_name", nullable=False)'),
    ("disallowed-unique-constraint", 'op.create_unique_constraint("uq_t", "users", ["email"])'),
    ("changing-column-type", 'op.alter_column("users", "version", type_=sa.Numeric())'),
    ("ban-drop-column", DROP),
    ("ban-drop-table", 'op.drop_table("idempotency_records")'),
    ("renaming-column", 'op.alter_column("users", "full_name", new_column_name="name")'),
]
UNSAFE_SQL = [
    ("unbatched-write", "UPDATE users SET full_name = 'x' WHERE full_name IS NULL"),
    ("unbatched-write", "DELETE FROM posts"),
    ("unbatched-write", "INSERT INTO users (id, email) SELECT id, email FROM others"),
    ("unbatched-write", "INSERT INTO users (id) (TABLE others)"),
    ("unbatched-write", "INSERT INTO users (id) SELECT id FROM others, (VALUES (1)) AS v"),
    ("unbatched-write", "COPY users FROM '/tmp/users'"),
    ("unbatched-write", "EXPLAIN ANALYZE UPDATE users SET version = 2"),
    ("unbatched-write", "WITH d AS (DELETE FROM posts WHERE version = 1 RETURNING id) SELECT count(id) FROM d"),
    ("unbatched-write", "DO $$ BEGIN UPDATE posts SET version = 2; END $$"),
    ("unbatched-write", "ALTER TABLE users ADD COLUMN a text;\n/* fill /* it */ */ UPDATE users SET a = 'x'"),
    ("opaque-function-call", "SELECT fill()"),
    ("opaque-function-call", "CALL p()"),
    ("opaque-function-call", "DO $$ BEGIN PERFORM fill(); END $$"),
    ("multiple-statements", "SET search_path = public; ALTER TABLE users ADD COLUMN a text"),
    ("multi-table-lock", "TRUNCATE users, posts"),
    ("multi-table-lock", "LOCK users, posts IN SHARE ROW EXCLUSIVE MODE"),
    ("explicit-transaction-control", "COMMIT"),
    ("timeout-override", "SET LOCAL lock_timeout = 0"),
    ("adding-field-with-default", "ALTER TABLE users ADD COLUMN a uuid DEFAULT gen_random_uuid()"),
    ("adding-field-with-default", "ALTER TABLE posts ADD COLUMN n integer GENERATED ALWAYS AS (version + 1) STORED"),
]
NOT_IDEMPOTENT_SQL = [
    "ALTER TABLE users ADD COLUMN IF NOT EXISTS a text, ADD COLUMN b text",
    "ALTER TABLE IF EXISTS users ADD COLUMN b text",
]
UNSAFE += [(rule, f"op.execute({sql!r})") for rule, sql in UNSAFE_SQL]
UNSAFE += [("not-idempotent", f"op.execute({sql!r})\n{SAFE_INDEX}") for sql in NOT_IDEMPOTENT_SQL]
TRIGGER = """CREATE OR REPLACE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  NEW.version := 2;
  UPDATE users SET version = 1;
  RETURN NEW;
END $$"""
ACCEPTED = {
    "a function that writes": f"op.execute({TRIGGER!r})",
    "quoted SQL": "op.execute(\"COMMENT ON TABLE users IS 'DELETE FROM users; COMMIT'\")",
    "function created with the version": f'{SAFE_INDEX}\nop.execute("CREATE FUNCTION f() RETURNS int RETURN 1")',
    "inserted values": """op.execute("INSERT INTO users (id, email) VALUES (gen_random_uuid(), 'SELECT')")""",
    "repeatable statement": f'op.execute("ALTER TABLE users ALTER id SET STATISTICS 9")\n{SAFE_INDEX}',
    "safe operations": SAFE_OPERATIONS,
    "a rule of the domain": f"from domain.email import validate_email\n{SAFE_INDEX}",
    "new table with two foreign keys": NEW_TABLE,
    "two new tables with foreign keys": NEW_TABLE + NEW_TABLE.replace("likes", "votes").replace("users", "likes"),
    "two foreign keys of a new table that are added later": """
        op.execute("CREATE TABLE likes (id bigint, user_id uuid, key_id uuid)")
        op.execute("ALTER TABLE likes ADD CONSTRAINT a FOREIGN KEY (user_id) REFERENCES users (id) NOT VALID")
        op.execute("ALTER TABLE likes ADD CONSTRAINT b FOREIGN KEY (key_id) REFERENCES api_keys (id) NOT VALID")
    """,
    "new table beside a safe operation": NEW_TABLE.replace("\n)", "\n    if_not_exists=True,\n)").replace(
        '["user_id"]', '["user_id"], if_not_exists=True'
    )
    + SAFE_INDEX,
    "new table with a foreign key, and a change of the same older table": """
        op.create_table("likes", sa.Column("user_id", sa.Uuid(), sa.ForeignKey("users.id"), primary_key=True))
        op.add_column("users", sa.Column("a", sa.Text()))
    """,
}
CONTRACT = 'phase = "contract"\nsafe_from = "0.1.0"'
DROP_KEY = 'op.drop_constraint_if_exists("fk_idempotency_records_api_key_id_api_keys", "idempotency_records")'


def _rejected(own: Revisions) -> list[str]:
    return [each.rule for each in lint_revision(own.scripts().get_revision(own.last)) if each.reason is None]


@pytest.mark.parametrize(("rule", "upgrade"), UNSAFE)
def test_lint_rejects_unsafe_revision(own: Revisions, rule: str, upgrade: str) -> None:
    own.add(upgrade, UNDO)
    assert rule in _rejected(own)


@pytest.mark.parametrize("upgrade", ACCEPTED.values(), ids=ACCEPTED)
def test_lint_accepts_safe_revision(own: Revisions, upgrade: str) -> None:
    own.add(upgrade, UNDO)
    assert _rejected(own) == []


@pytest.mark.parametrize(
    ("upgrade", "downgrade", "more", "rules"),
    [
        (ADD, "pass", "", ["no-downgrade"]),
        (DROP, UNDO, CONTRACT, []),
        (DROP, UNDO, CONTRACT.replace("0.1.0", "9.0.0"), ["phase"]),
        (DROP_KEY, UNDO, CONTRACT, []),
        (DROP_KEY, UNDO, "", ["ban-drop-constraint"]),
    ],
)
def test_lint_rules_depend_on_downgrade_and_phase(
    own: Revisions, upgrade: str, downgrade: str, more: str, rules: list[str]
) -> None:
    own.add(upgrade, downgrade, more=more)
    assert _rejected(own) == rules


@pytest.mark.parametrize(
    ("exceptions", "rejected"),
    [
        ({"unbatched-write": "ten rows"}, 2),
        ({"unbatched-write: DELETE FROM users": "ten rows"}, 1),
        ({"unbatched-write: FROM users": "ten rows", "unbatched-write: FROM posts": "and two"}, 0),
        ({"unbatched": "ten rows", "write: DELETE": "ten"}, 2),
    ],
)
def test_lint_exception_applies_to_matching_statements(
    own: Revisions, exceptions: dict[str, str], rejected: int
) -> None:
    own.add("op.execute('DELETE FROM users'); op.execute('DELETE FROM posts')", UNDO, more=f"exceptions = {exceptions}")
    assert len(_rejected(own)) == rejected


def test_lint_prints_the_reason_of_an_exception(own: Revisions) -> None:
    own.add(INDEX, UNDO, more='exceptions = {"require-concurrent-index-creation": "posts are empty"}')
    (finding,) = lint_revision(own.scripts().get_revision(own.last))
    assert str(finding).endswith("(allowed: posts are empty)")


@pytest.mark.parametrize(("more", "message"), [("phase = None", "declares no phase"), ("", "must form one line")])
def test_lint_rejects_missing_phase_and_two_lines(own: Revisions, more: str, message: str) -> None:
    own.add("pass")
    own.last = EXPAND_HEAD
    own.add("pass", more=more)
    (finding,) = lint(own.scripts())
    assert (finding.rule, message in finding.message) == ("phase", True)


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


def test_upgrade_rejects_unsafe_pending_revision(database: RevisedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade_module, "alembic_config", database.config)
    database.add(ADD, 'op.drop_column("users", "a")', revision="safe")
    database.add(
        "op.execute('DELETE FROM users')", UNDO, revision="allowed", more='exceptions = {"unbatched-write": "x"}'
    )
    database.add(INDEX, 'op.drop_index("ix_t", "posts")', revision="unsafe")
    message = (
        r"revision unsafe: require-concurrent-index-creation: .*; nothing was applied. To override: --allow-unsafe$"
    )
    with pytest.raises(MigrationError, match=message) as raised:
        upgrade(database.url, print)
    assert "\n" not in str(raised.value)
    assert database.applied == [EXPAND_HEAD]
    upgrade(database.url, print, allow_unsafe=True)
    assert database.applied == ["unsafe"]
    upgrade(database.url, print)


def test_lint_skips_squawk_rules_when_it_is_not_installed(own: Revisions, monkeypatch: pytest.MonkeyPatch) -> None:
    own.add(f'{INDEX}\nop.execute("TRUNCATE posts, users")', UNDO)
    assert _rejected(own) == ["multi-table-lock", "require-concurrent-index-creation"]
    monkeypatch.setattr(linter, "SQUAWK", Path("/missing"))
    assert _rejected(own) == ["multi-table-lock"]
    with pytest.raises(MigrationError, match="squawk is not installed"):
        linter.main()
