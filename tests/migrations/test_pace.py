"""Batches are as large as others do not mind, and never larger than was asked for."""

import re

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.operations.pace import SECONDS, Pace
from tests.migrations.revisions import Revisions
from tests.support.databases import connected, with_driver

SLOWLY = """
    CREATE FUNCTION slowly() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        PERFORM pg_sleep(0.01);
        INSERT INTO batches VALUES (txid_current());
        RETURN NEW;
    END $$;
    CREATE TABLE batches (number bigint);
    CREATE TRIGGER slowly BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slowly();
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, 60) n
"""


def test_a_batch_grows_until_it_takes_too_long_and_shrinks_again() -> None:
    pace = Pace(1000)
    for _ in range(20):
        pace.took(pace.size * 0.0001)
    assert pace.size == pytest.approx(SECONDS / 0.0001, abs=1)
    pace.took(SECONDS * 4)
    assert pace.size == pytest.approx(SECONDS / 0.0001 / 2, abs=1)
    for _ in range(20):
        pace.took(0.0)
    assert pace.size == 1000
    for _ in range(20):
        pace.took(3600.0)
    assert pace.size == 1
    assert Pace(3).size == 3


def test_rows_that_are_slow_to_write_come_in_small_batches(scratch: URL, driver: str, own: Revisions) -> None:
    own.add('op.backfill("users", "full_name = \'x\'", batch=60, pause=0)')
    with connected(scratch) as connection:
        for statement in re.split(r";\n(?=    [CI])", SLOWLY):
            connection.execute(statement.encode())
        command.upgrade(own.config(with_driver(scratch, driver)), "heads")
        sizes = [
            int(str(size))
            for (size,) in connection.execute("SELECT count(*) FROM batches GROUP BY number ORDER BY number").fetchall()
        ]
    assert sum(sizes) == 60
    assert max(sizes) <= 10
    assert sizes[2] <= 6, "10 ms a row, so about 5 of them"
