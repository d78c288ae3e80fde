"""Tests that a failed migration is described in one line, with the place in the revision."""

import re

import pytest

from adapters.postgres.schema import upgrade as upgrade_module
from adapters.postgres.schema.upgrade import upgrade
from adapters.testing.template_databases import with_driver
from migrations.runner.lock_retry import MigrationError
from tests.migrations.revision_fixtures import EXPAND_HEAD, RevisedDatabase

UNDO = 'op.execute("SELECT 1")'
FIRST_LINE = 9
"""The line of the first statement of `upgrade`."""


@pytest.fixture(autouse=True)
def _revisions_of_the_test(database: RevisedDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade_module, "alembic_config", database.config)


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ('op.execute("SELEC 1")', r"PostgreSQL reported SQLSTATE 42601 \(SyntaxError\)"),
        ('op.execute("DROP TABLE nowhere")', r"PostgreSQL reported SQLSTATE 42P01 \(UndefinedTable\)"),
        ('op.add_check("ck_t", "nowhere", "a > 0")', r"PostgreSQL reported SQLSTATE 42P01 \(UndefinedTable\)"),
        (
            "op.execute(\"INSERT INTO api_keys (name) VALUES ('s3cret')\")",
            r"PostgreSQL reported SQLSTATE 23502 \(NotNullViolation\)",
        ),
        ("op.execute(\"DO $$ BEGIN RAISE 's3cret' USING ERRCODE = 'ZZ001'; END $$\")", "SQLSTATE ZZ001"),
        (
            'op.execute("DO $$ BEGIN SET LOCAL ROLE pg_monitor; CREATE TABLE x (a int); END $$")',
            r"SQLSTATE 42501 \(InsufficientPrivilege\); the role needs the privilege CREATE on the schema, .*",
        ),
        (
            'op.execute("DO $$ BEGIN SET LOCAL search_path = nowhere; CREATE TABLE x (a int); END $$")',
            r"SQLSTATE 3F000 \(InvalidSchemaName\); the schema does not exist",
        ),
        ('op.backfill("users", "version = 1", rows=3)', "TypeError: .* unexpected keyword argument 'rows'"),
        ('op.backfill("users", "version = 1", batch="many")', "TypeError: .*"),
        ('open("missing.sql")', "FileNotFoundError: .*missing.sql'"),
        ('raise ValueError("two\\nlines")', "ValueError: two lines"),
    ],
    ids=[
        "SQL syntax", "missing table", "missing table of a safe operation", "constraint", "unknown SQLSTATE",
        "privilege", "schema",
        "argument", "value of an argument", "file", "own error",
    ],
)  # fmt: skip
def test_upgrade_error_is_one_line_with_place(
    database: RevisedDatabase, driver: str, statement: str, reason: str
) -> None:
    name = database.add(statement, UNDO)
    with pytest.raises(MigrationError) as raised:
        upgrade(with_driver(database.url, driver), print, allow_unsafe=True)
    place = re.escape(f"{database.directory / name}.py:{FIRST_LINE}")
    assert re.fullmatch(f"{place}: .*{reason}.*", str(raised.value))
    assert "s3cret" not in str(raised.value)
    assert database.applied == [EXPAND_HEAD]


def test_lint_error_has_the_place(database: RevisedDatabase) -> None:
    name = database.add('op.backfill("users", "version = 1", rows=3)', UNDO)
    with pytest.raises(MigrationError) as raised:
        upgrade(database.url, print)
    assert f"offline-dependent: {database.directory / name}.py:{FIRST_LINE}: " in str(raised.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("revision = (", "{path}:1: SyntaxError: "),
        ("import nowhere_at_all", "{path}:1: ModuleNotFoundError: "),
        ("revision = 'x'\ndown_revision = 'y'", "KeyError: 'y'"),
        ("down_revision = None", "Could not determine revision id from filename"),
    ],
    ids=["syntax", "import", "missing revision", "no revision"],
)
@pytest.mark.filterwarnings("ignore:Revision y referenced")
def test_unreadable_revision_is_one_line(database: RevisedDatabase, text: str, message: str) -> None:
    path = database.directory / "broken.py"
    path.write_text(text)
    with pytest.raises(MigrationError) as raised:
        upgrade(database.url, print)
    assert message.format(path=path) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_upgrade_names_an_unknown_revision(database: RevisedDatabase) -> None:
    database.execute("UPDATE alembic_version SET version_num = 'f00d'")
    with pytest.raises(MigrationError, match=r"^the database has revision f00d, which this release lacks;"):
        upgrade(database.url, print)
