"""Each safe operation: up, down, again, and after it was interrupted."""

import pytest
from alembic import command
from sqlalchemy import URL

from tests.migrations.revisions import Revisions
from tests.support.databases import connected, with_driver
from tests.support.schemas import schema

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
