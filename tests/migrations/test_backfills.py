"""A backfill updates each row once, whatever becomes of the revision around it."""

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.patience import MigrationError
from tests.migrations.revisions import EXPAND_HEAD, Revisions
from tests.support.databases import connected, with_driver
from tests.support.schemas import revisions

ROWS = """
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, 100) n
"""
VERSIONS = "SELECT version, count(*) FROM users GROUP BY 1"
COUNT = 'op.backfill("users", "version = version + 1", batch=30, pause=0)'
STATE = "SELECT to_regclass('alembic_backfills')"


def test_it_is_not_begun_again_when_the_revision_fails_after_it(scratch: URL, driver: str, own: Revisions) -> None:
    own.add(f'{COUNT}\n{COUNT}\nop.add_not_null("users", "full_name")')
    config = own.config(with_driver(scratch, driver))
    with connected(scratch) as connection:
        connection.execute(ROWS)
        for _ in range(2):
            with pytest.raises(Exception, match=r"contains null values"):
                command.upgrade(config, "heads")
        assert connection.execute(VERSIONS).fetchall() == [(3, 100)]
        connection.execute("UPDATE users SET full_name = 'x'")
        command.upgrade(config, "heads")
        assert connection.execute(VERSIONS).fetchall() == [(3, 100)]
        assert connection.execute(STATE).fetchone() == (None,)


def test_another_revision_with_the_same_words_does_all_of_it(scratch: URL, driver: str, own: Revisions) -> None:
    own.add(f'{COUNT}\nop.execute("SELECT 1 / 0")', revision="one")
    with connected(scratch) as connection:
        connection.execute(ROWS)
        with pytest.raises(Exception, match="division by zero"):
            command.upgrade(own.config(with_driver(scratch, driver)), "heads")
        (own.directory / "one.py").unlink()
        own.last = EXPAND_HEAD
        own.add(COUNT, revision="two")
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
        assert connection.execute(VERSIONS).fetchall() == [(3, 100)]


def test_other_words_in_the_same_place_are_refused(scratch: URL, own: Revisions) -> None:
    own.add(f'{COUNT}\nop.execute("SELECT 1 / 0")', revision="one")
    with connected(scratch) as connection:
        connection.execute(ROWS)
        with pytest.raises(Exception, match="division by zero"):
            command.upgrade(own.config(scratch), "heads")
        own.last = EXPAND_HEAD
        own.add(COUNT.replace("+ 1", "+ 2"), revision="one")
        with pytest.raises(MigrationError, match="backfill 1 of revision one was begun as another statement"):
            command.upgrade(own.config(scratch), "heads")
        assert (connection.execute(VERSIONS).fetchall(), revisions(scratch)) == ([(2, 100)], [EXPAND_HEAD])


def test_a_downgrade_forgets_what_comes_after_it(scratch: URL, own: Revisions) -> None:
    own.add('op.add_column("users", sa.Column("a", sa.Text()))', 'op.drop_column("users", "a")', revision="column")
    own.add("""op.backfill("users", "a = 'x'")\nop.add_not_null("users", "full_name")""", revision="filled")
    with connected(scratch) as connection:
        connection.execute(ROWS)
        with pytest.raises(Exception, match="contains null values"):
            command.upgrade(own.config(scratch), "heads")
        connection.execute("UPDATE users SET full_name = 'x'")
        command.downgrade(own.config(scratch), "-1")
        assert connection.execute(STATE).fetchone() == (None,)
        command.upgrade(own.config(scratch), "heads")
        assert connection.execute("SELECT count(*) FROM users WHERE a IS NULL").fetchone() == (0,)


def test_a_place_that_is_gone_is_an_error(scratch: URL, own: Revisions) -> None:
    own.add(COUNT)
    with connected(scratch) as connection:
        connection.execute(ROWS)
        connection.execute("""
            CREATE FUNCTION away() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                DELETE FROM alembic_backfills; RETURN NULL;
            END $$
        """)
        connection.execute("CREATE TRIGGER away AFTER UPDATE ON users FOR EACH STATEMENT EXECUTE FUNCTION away()")
        with pytest.raises(Exception, match="the place of backfill 1 of revision test0000 is gone"):
            command.upgrade(own.config(scratch), "heads")
