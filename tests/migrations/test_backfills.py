"""A backfill updates each row once, whatever becomes of the revision around it."""

import asyncio
import io

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.operations.pace import Pace
from migrations.patience import MigrationError
from migrations.sql import split
from tests.migrations.revisions import EXPAND_HEAD, Revisions
from tests.support.databases import connected, with_driver
from tests.support.schemas import revisions
from tests.support.stores import WAITING
from tests.support.waiting import until

ROWS = """
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, 100) n
"""
VERSIONS = "SELECT version, count(*) FROM users GROUP BY 1"
COUNT = 'op.backfill("users", "version = version + 1", batch=30, pause=0)'
THINGS = "INSERT INTO things SELECT {}, n % 2, 1 FROM generate_series(1, 200) n"
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


def test_a_batch_is_as_many_rows_as_are_looked_at(
    scratch: URL, driver: str, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds: list[float] = []
    took = Pace.took

    def note(pace: Pace, batch: float) -> None:
        seconds.append(batch)
        took(pace, batch)

    monkeypatch.setattr(Pace, "took", note)
    own.add("""op.backfill("users", "version = 2", where="pg_sleep(0.001) IS NULL OR email = '1@x.org'", pause=0)""")
    with connected(scratch) as connection:
        connection.execute(ROWS.replace("100", "500"))
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
        assert connection.execute("SELECT email FROM users WHERE version = 2").fetchall() == [("1@x.org",)]
    assert sum(seconds) > 0.5
    assert len(seconds) >= 6, "one batch looked at all rows, for the only one that matches"  # 10 + 20 + … + 160 < 500


@pytest.mark.parametrize(
    ("kind", "value"), [("char(5)", "to_char(n, 'FM000')"), ("bit(12)", "n::bit(12)"), ("numeric(9, 2)", "n / 100.0")]
)
def test_a_key_whose_type_has_a_length(scratch: URL, driver: str, own: Revisions, kind: str, value: str) -> None:
    own.add('op.backfill("things", "n = n + 1", batch=30, pause=0, key=("second", "first"))')
    with connected(scratch) as connection:
        connection.execute(
            f"CREATE TABLE things (first {kind}, second int, n int, PRIMARY KEY (second, first))".encode()
        )
        connection.execute(THINGS.format(value).encode())
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
        assert connection.execute("SELECT n, count(*) FROM things GROUP BY 1").fetchall() == [(2, 200)]


def test_a_batch_that_does_not_advance_is_an_error(
    scratch: URL, own: Revisions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("migrations.operations.backfill._type_of", lambda *_: "character")
    own.add('op.backfill("things", "n = n + 1", batch=1, pause=0, key=("first",))')
    with connected(scratch) as connection:
        connection.execute("CREATE TABLE things (first char(5) PRIMARY KEY, n int)")
        connection.execute("INSERT INTO things VALUES ('ab', 1), ('ac', 1)")
        with pytest.raises(MigrationError, match="backfilling things: it does not get beyond ab"):
            command.upgrade(own.config(scratch), "heads")


def test_a_key_that_may_be_null_is_refused(scratch: URL, own: Revisions) -> None:
    own.add('op.backfill("users", "version = 2", key=("full_name",))')
    with pytest.raises(MigrationError, match="backfilling users: its key full_name may be NULL"):
        command.upgrade(own.config(scratch), "heads")


async def test_a_script_lets_go_of_its_rows_while_others_hold_one(scratch: URL, own: Revisions) -> None:
    own.add('op.backfill("users", "version = version + 1", batch=30, pause=0)')
    written = io.StringIO()
    config = own.config()
    config.output_buffer = written
    command.upgrade(config, f"{EXPAND_HEAD}:heads", sql=True)

    def run() -> None:
        with connected(scratch) as connection:
            for statement in split(written.getvalue()):
                connection.execute(statement.encode())

    with connected(scratch) as other, connected(scratch) as third:
        third.execute(ROWS)
        with other.transaction():
            other.execute("UPDATE users SET full_name = 'x' WHERE id = (SELECT max(id::text)::uuid FROM users)")
            migrating = asyncio.create_task(asyncio.to_thread(run))
            await until(lambda: migrating.done() or third.execute(WAITING).fetchone() != (0,))
            third.execute("SET lock_timeout = '30s'")
            third.execute("UPDATE users SET full_name = 'y' WHERE id <> (SELECT max(id::text)::uuid FROM users)")
        await migrating
        assert third.execute(VERSIONS).fetchall() == [(2, 100)]
    assert revisions(scratch) == [own.last]
