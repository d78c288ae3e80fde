"""Tests for the safe operations."""

import pytest

from migrations.runner.lock_retry import MigrationError
from tests.migrations.revision_fixtures import RevisedDatabase

INDEX = 'op.create_index_concurrently("ix_t", "users", ["full_name"], postgresql_where=sa.text("is_active"))'
FOREIGN_KEY = 'op.add_foreign_key("fk_t", "idempotency_records", "users", ["subject_id"], ["id"], ondelete="CASCADE")'
CHECK = """op.add_check("ck_t", "users", "email <> 'a:b'::text")"""
NOT_NULL = 'op.add_not_null("users", "full_name")'
UNIQUE = 'op.add_unique("uq_t", "users", ["email"])'
OPERATIONS = [
    (INDEX, 'op.drop_index_concurrently("ix_t", "users")'),
    (FOREIGN_KEY, 'op.drop_constraint_if_exists("fk_t", "idempotency_records")'),
    (CHECK, 'op.drop_constraint_if_exists("ck_t", "users")'),
    (NOT_NULL, 'op.drop_not_null("users", "full_name")'),
    (UNIQUE, 'op.drop_constraint_if_exists("uq_t", "users")'),
]


@pytest.mark.parametrize(("upgrade", "downgrade"), OPERATIONS)
@pytest.mark.usefixtures("driver")
def test_safe_operation_goes_up_and_down_and_up_and_repeats(
    database: RevisedDatabase, upgrade: str, downgrade: str
) -> None:
    before = database.schema
    database.insert_users()
    database.execute("UPDATE users SET full_name = 'x'")
    database.add(upgrade, downgrade)
    database.upgrade()
    after = database.schema
    assert after != before
    database.downgrade()
    assert database.schema == before
    database.upgrade()
    assert database.schema == after
    database.add(upgrade)  # finds all steps completed
    database.upgrade()
    assert database.schema == after


OTHER_OBJECTS = [
    ("CREATE INDEX ix_t ON users (full_name)", INDEX),
    ("CREATE UNIQUE INDEX ix_t ON users (full_name) WHERE is_active", INDEX),
    ("CREATE UNIQUE INDEX uq_t ON users (full_name)", UNIQUE),
    ("ALTER TABLE users ADD CONSTRAINT uq_t UNIQUE (email, full_name)", UNIQUE),
    ("ALTER TABLE users ADD CONSTRAINT ck_t CHECK (email <> 'a:b' AND version > 0)", CHECK),
    ("ALTER TABLE users ADD CONSTRAINT ck_t CHECK (email <> 'c') NOT VALID", CHECK),
    ("ALTER TABLE users ADD CONSTRAINT users_full_name_not_null CHECK (version > 0)", NOT_NULL),
    ("ALTER TABLE idempotency_records ADD CONSTRAINT fk_t FOREIGN KEY (subject_id) REFERENCES users", FOREIGN_KEY),
]
EQUAL_OBJECTS = [
    ("CREATE INDEX ix_t ON users USING btree (full_name) WHERE (is_active)", INDEX),
    ("CREATE UNIQUE INDEX uq_t ON users (email)", UNIQUE),
    ("ALTER TABLE users ADD CONSTRAINT ck_t CHECK ((email <> ('a:b'))) NOT VALID", CHECK),
    ("ALTER TABLE users ADD CONSTRAINT other NOT NULL full_name NOT VALID", NOT_NULL),
    (
        "ALTER TABLE posts ADD CONSTRAINT fk_t FOREIGN KEY (author_id) REFERENCES public.users NOT VALID",
        'op.add_foreign_key("fk_t", "posts", "users", ["author_id"], ["id"])',
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT fk_t FOREIGN KEY (id) REFERENCES users",
        'op.add_foreign_key("fk_t", "users", "users", ["id"], ["id"])',
    ),
]


@pytest.mark.parametrize(("existing", "upgrade"), OTHER_OBJECTS)
def test_safe_operation_rejects_a_name_in_use(database: RevisedDatabase, existing: str, upgrade: str) -> None:
    database.add(upgrade)
    database.execute(existing)
    before = database.schema
    with pytest.raises(MigrationError, match="exists with another definition: "):
        database.upgrade()
    assert database.schema == before


@pytest.mark.parametrize(("existing", "upgrade"), EQUAL_OBJECTS)
def test_safe_operation_accepts_an_equal_object(database: RevisedDatabase, existing: str, upgrade: str) -> None:
    database.add(upgrade)
    database.execute(existing)
    database.upgrade()
    assert database.applied == [database.last]
    assert [line for line in database.schema if "NOT VALID" in line] == []


@pytest.mark.parametrize("upgrade", [INDEX, CHECK, UNIQUE])
def test_safe_operation_rejects_a_name_above_63_bytes(database: RevisedDatabase, upgrade: str) -> None:
    database.add(upgrade.replace("_t", "_" + "t" * 61))
    with pytest.raises(MigrationError, match="is longer than 63 bytes"):
        database.upgrade()


@pytest.mark.parametrize("version", [170000, 180000])
@pytest.mark.parametrize(("table", "column"), [("t", "c"), ("t" * 40, "c" * 40)])
def test_add_not_null_adds_a_named_constraint(
    database: RevisedDatabase, monkeypatch: pytest.MonkeyPatch, table: str, column: str, version: int
) -> None:
    monkeypatch.setattr("migrations.operations.steps.StepRunner.server_version", version)
    database.add(f'op.add_not_null("{table}", "{column}")', f'op.drop_not_null("{table}", "{column}")')
    database.execute(f"CREATE TABLE {table} ({column} integer)")
    before = database.schema
    database.upgrade()
    added = {line for line in database.schema if line not in before}
    assert f"column {table}.{column} integer NO default " in added
    ((name, *definition),) = [line.split()[1:] for line in added if line.startswith("constraint")]
    assert definition == ["NOT", "NULL", column]
    assert name == f"{table}_{column}_not_null" or column != "c"  # a long name is shortened
    database.downgrade()
    assert database.schema == before
    database.upgrade()
