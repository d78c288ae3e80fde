"""Tests for the safe operations."""

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.runner.lock_retry import MigrationError
from tests.migrations.revision_fixtures import Revisions, insert_users
from tests.support.schema_dump import revisions, schema
from tests.support.template_databases import connected, with_driver

OPERATIONS = {
    "index": (
        'op.create_index_concurrently("ix_t", "users", ["full_name"], postgresql_where=sa.text("is_active"))',
        'op.drop_index_concurrently("ix_t", "users")',
    ),
    "foreign key": (
        'op.add_foreign_key("fk_t", "idempotency_records", "users", ["subject_id"], ["id"], ondelete="CASCADE")',
        'op.drop_constraint_if_exists("fk_t", "idempotency_records")',
    ),
    "check": (
        """op.add_check("ck_t", "users", "email <> 'a:b'::text")""",
        'op.drop_constraint_if_exists("ck_t", "users")',
    ),
    "not null": ('op.add_not_null("users", "full_name")', 'op.drop_not_null("users", "full_name")'),
    "unique": ('op.add_unique("uq_t", "users", ["email"])', 'op.drop_constraint_if_exists("uq_t", "users")'),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_safe_operation_goes_up_and_down_and_up_and_repeats(
    scratch: URL, driver: str, own: Revisions, name: str
) -> None:
    upgrade, downgrade = OPERATIONS[name]
    before = schema(scratch)
    with connected(scratch) as connection:
        insert_users(connection, 100)
        connection.execute("UPDATE users SET full_name = 'x'")
    own.add(upgrade, downgrade)
    config = own.config(with_driver(scratch, driver))
    command.upgrade(config, "heads")
    after = schema(scratch)
    assert after != before
    command.downgrade(config, "-1")
    assert schema(scratch) == before
    command.upgrade(config, "heads")
    assert schema(scratch) == after
    own.add(upgrade)  # finds all steps completed
    command.upgrade(config, "heads")
    assert schema(scratch) == after


OTHER_OBJECTS = [
    ("CREATE INDEX ix_t ON users (full_name)", OPERATIONS["index"][0]),
    ("CREATE UNIQUE INDEX ix_t ON users (full_name) WHERE is_active", OPERATIONS["index"][0]),
    ("CREATE UNIQUE INDEX uq_t ON users (full_name)", OPERATIONS["unique"][0]),
    ("ALTER TABLE users ADD CONSTRAINT uq_t UNIQUE (email, full_name)", OPERATIONS["unique"][0]),
    ("ALTER TABLE users ADD CONSTRAINT ck_t CHECK (email <> 'a:b' AND version > 0)", OPERATIONS["check"][0]),
    ("ALTER TABLE users ADD CONSTRAINT ck_t CHECK (email <> 'c') NOT VALID", OPERATIONS["check"][0]),
    ("ALTER TABLE users ADD CONSTRAINT users_full_name_not_null CHECK (version > 0)", OPERATIONS["not null"][0]),
    (
        "ALTER TABLE idempotency_records ADD CONSTRAINT fk_t FOREIGN KEY (subject_id) REFERENCES users (id)",
        OPERATIONS["foreign key"][0],
    ),
]


@pytest.mark.parametrize(("existing", "upgrade"), OTHER_OBJECTS)
def test_safe_operation_rejects_a_name_in_use(scratch: URL, own: Revisions, existing: str, upgrade: str) -> None:
    own.add(upgrade)
    with connected(scratch) as connection:
        connection.execute(existing.encode())
    before = schema(scratch)
    with pytest.raises(MigrationError, match="exists with another definition: "):
        command.upgrade(own.config(scratch), "heads")
    assert schema(scratch) == before


SAME_OBJECTS = [
    ("CREATE INDEX ix_t ON users USING btree (full_name) WHERE (is_active)", OPERATIONS["index"][0]),
    ("CREATE UNIQUE INDEX uq_t ON users (email)", OPERATIONS["unique"][0]),
    ("ALTER TABLE users ADD CONSTRAINT ck_t CHECK ((email <> ('a:b'))) NOT VALID", OPERATIONS["check"][0]),
    ("ALTER TABLE users ADD CONSTRAINT other NOT NULL full_name NOT VALID", OPERATIONS["not null"][0]),
    (
        "ALTER TABLE posts ADD CONSTRAINT fk_t FOREIGN KEY (author_id) REFERENCES public.users NOT VALID",
        'op.add_foreign_key("fk_t", "posts", "users", ["author_id"], ["id"])',
    ),
    (
        "ALTER TABLE users ADD CONSTRAINT fk_t FOREIGN KEY (id) REFERENCES users",
        'op.add_foreign_key("fk_t", "users", "users", ["id"], ["id"])',
    ),
]


@pytest.mark.parametrize(("existing", "upgrade"), SAME_OBJECTS)
def test_safe_operation_accepts_an_equal_object(scratch: URL, own: Revisions, existing: str, upgrade: str) -> None:
    own.add(upgrade)
    with connected(scratch) as connection:
        connection.execute(existing.encode())
    command.upgrade(own.config(scratch), "heads")
    assert revisions(scratch) == [own.last]


@pytest.mark.parametrize(
    "upgrade",
    [
        f'op.create_index_concurrently("{"ix" * 32}", "users", ["full_name"])',
        f'op.add_check("{"ck" * 32}", "users", "version > 0")',
        f'op.add_unique("{"uq" * 32}", "users", ["email"])',
    ],
    ids=["index", "check", "unique"],
)
def test_safe_operation_rejects_a_name_above_63_bytes(scratch: URL, own: Revisions, upgrade: str) -> None:
    own.add(upgrade)
    with pytest.raises(MigrationError, match="is longer than 63 bytes"):
        command.upgrade(own.config(scratch), "heads")


@pytest.mark.parametrize("version", [170000, 180000])
def test_add_not_null_truncates_its_generated_name(
    scratch: URL, own: Revisions, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr("migrations.operations.steps.StepRunner.server_version", version)
    table, column = "t" * 40, "c" * 40
    own.add(f'op.add_not_null("{table}", "{column}")', f'op.drop_not_null("{table}", "{column}")')
    with connected(scratch) as connection:
        connection.execute(f"CREATE TABLE {table} ({column} integer)".encode())
    config = own.config(scratch)
    command.upgrade(config, "heads")
    command.downgrade(config, "-1")
    command.upgrade(config, "heads")
    assert f"column {table}.{column} integer NO default " in schema(scratch)


def test_add_not_null_adds_named_constraint_before_postgresql_18(
    scratch: URL, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.operations.steps.StepRunner.server_version", 170000)
    own.add('op.add_not_null("users", "full_name")', 'op.drop_not_null("users", "full_name")')
    before = schema(scratch)
    command.upgrade(own.config(scratch), "heads")
    assert {line for line in schema(scratch) if line not in before} == {
        "column users.full_name text NO default ",
        "constraint users_full_name_not_null NOT NULL full_name",
    }
    command.downgrade(own.config(scratch), "-1")
    assert schema(scratch) == before
