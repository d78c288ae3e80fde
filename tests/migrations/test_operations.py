"""Each safe operation: up, down, again, and after it was interrupted."""

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.patience import MigrationError
from tests.migrations.revisions import Revisions
from tests.support.databases import connected, with_driver
from tests.support.schemas import revisions, schema

ROWS = """
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, 100) n
"""
OPERATIONS = {
    "index": (
        'op.create_index_concurrently("ix_t", "users", ["full_name"], postgresql_where=sa.text("is_active"))',
        'op.drop_index_concurrently("ix_t", "users")',
    ),
    "foreign key": (
        'op.add_foreign_key("fk_t", "outcomes", "users", ["subject_id"], ["id"], ondelete="CASCADE")',
        'op.remove_constraint("fk_t", "outcomes")',
    ),
    "check": (
        """op.add_check("ck_t", "users", "email <> 'a:b'::text")""",
        'op.remove_constraint("ck_t", "users")',
    ),
    "not null": ('op.add_not_null("users", "full_name")', 'op.remove_not_null("users", "full_name")'),
    "unique": ('op.add_unique("uq_t", "users", ["email"])', 'op.remove_constraint("uq_t", "users")'),
}


@pytest.mark.parametrize(("upgrade", "downgrade"), OPERATIONS.values(), ids=OPERATIONS)
def test_up_and_down_and_up_and_again(scratch: URL, driver: str, own: Revisions, upgrade: str, downgrade: str) -> None:
    before = schema(scratch)
    with connected(scratch) as connection:
        connection.execute(ROWS)
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
    own.add(upgrade)  # finds that all is done
    command.upgrade(config, "heads")
    assert schema(scratch) == after


TAKEN = [
    ("CREATE INDEX ix_t ON users (full_name)", OPERATIONS["index"][0]),
    ("CREATE UNIQUE INDEX ix_t ON users (full_name) WHERE is_active", OPERATIONS["index"][0]),
    ("CREATE UNIQUE INDEX uq_t ON users (full_name)", OPERATIONS["unique"][0]),
    ("ALTER TABLE users ADD CONSTRAINT uq_t UNIQUE (email, full_name)", OPERATIONS["unique"][0]),
    ("ALTER TABLE users ADD CONSTRAINT ck_t CHECK (email <> 'a:b' AND version > 0)", OPERATIONS["check"][0]),
    ("ALTER TABLE users ADD CONSTRAINT ck_t CHECK (email <> 'c') NOT VALID", OPERATIONS["check"][0]),
    ("ALTER TABLE users ADD CONSTRAINT users_full_name_not_null CHECK (version > 0)", OPERATIONS["not null"][0]),
    (
        "ALTER TABLE outcomes ADD CONSTRAINT fk_t FOREIGN KEY (subject_id) REFERENCES users (id)",
        OPERATIONS["foreign key"][0],
    ),
]


@pytest.mark.parametrize(("taken", "upgrade"), TAKEN)
def test_a_name_that_is_taken_is_refused(scratch: URL, own: Revisions, taken: str, upgrade: str) -> None:
    own.add(upgrade)
    with connected(scratch) as connection:
        connection.execute(taken.encode())
    before = schema(scratch)
    with pytest.raises(MigrationError, match="is there already and is something else: "):
        command.upgrade(own.config(scratch), "heads")
    assert schema(scratch) == before


SAME = [
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


@pytest.mark.parametrize(("taken", "upgrade"), SAME)
def test_what_is_there_is_the_same_in_other_words(
    scratch: URL, driver: str, own: Revisions, taken: str, upgrade: str
) -> None:
    own.add(upgrade)
    with connected(scratch) as connection:
        connection.execute(taken.encode())
    command.upgrade(own.config(with_driver(scratch, driver)), "heads")
    assert revisions(scratch) == [own.last]


def test_backfill(scratch: URL, driver: str, own: Revisions) -> None:
    with connected(scratch) as connection:
        connection.execute(ROWS)
        before = schema(scratch)
        own.add(
            """op.backfill("users", "full_name = 'a:b', version = version + 1", where="email <> '1@x.org'", batch=7)"""
        )
        said: list[str] = []
        command.upgrade(own.config(with_driver(scratch, driver), report=said.append), "heads")
        assert schema(scratch) == before
        found = connection.execute("SELECT full_name, version, count(*) FROM users GROUP BY 1, 2 ORDER BY 2").fetchall()
        assert found == [(None, 1, 1), ("a:b", 2, 99)]
    assert said[0].startswith("backfill of users: done, 99 rows in ")


@pytest.mark.parametrize(
    "upgrade",
    [
        f'op.create_index_concurrently("{"ix" * 32}", "users", ["full_name"])',
        f'op.add_check("{"ck" * 32}", "users", "version > 0")',
        f'op.add_unique("{"uq" * 32}", "users", ["email"])',
    ],
)
def test_a_name_that_the_server_would_cut_is_refused(scratch: URL, own: Revisions, upgrade: str) -> None:
    own.add(upgrade)
    with pytest.raises(MigrationError, match="is longer than 63 bytes"):
        command.upgrade(own.config(scratch), "heads")


@pytest.mark.parametrize("version", [170000, 180000])
def test_a_name_that_is_made_is_cut(
    scratch: URL, driver: str, own: Revisions, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    monkeypatch.setattr("migrations.operations.steps.Steps.server_version", version)
    table, column = "t" * 40, "c" * 40
    with connected(scratch) as connection:
        connection.execute(f"CREATE TABLE {table} ({column} integer)".encode())
        own.add(f'op.add_not_null("{table}", "{column}")', f'op.remove_not_null("{table}", "{column}")')
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
        command.downgrade(own.config(with_driver(scratch, driver)), "-1")
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
    assert f"column {table}.{column} integer NO default " in schema(scratch)
