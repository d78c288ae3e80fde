"""Tests for the adaptive batch size of backfills."""

import pytest
from alembic import command
from sqlalchemy import URL

from migrations.operations.batch_size import TARGET_SECONDS, AdaptiveBatchSize
from tests.migrations.revision_fixtures import Revisions, insert_users
from tests.support.template_databases import connected

SLOW_UPDATES = """
    CREATE TABLE batches (number bigint);
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_sleep(0.01); INSERT INTO batches VALUES (txid_current()); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION slow()
"""


def test_batch_size_follows_the_duration_of_batches() -> None:
    size = AdaptiveBatchSize(1000)
    for _ in range(20):
        size.record_duration(size.rows * 0.0001)
    assert size.rows == pytest.approx(TARGET_SECONDS / 0.0001, abs=1)
    size.record_duration(TARGET_SECONDS * 4)
    assert size.rows == pytest.approx(TARGET_SECONDS / 0.0001 / 2, abs=1)
    for _ in range(20):
        size.record_duration(0.0)
    assert size.rows == 1000
    for _ in range(20):
        size.record_duration(3600.0)
    assert size.rows == 1
    assert AdaptiveBatchSize(3).rows == 3


def test_backfill_shrinks_batches_of_slow_rows(scratch: URL, own: Revisions) -> None:
    own.add('op.backfill("users", "full_name = \'x\'", batch=60, pause=0)')
    with connected(scratch) as connection:
        insert_users(connection, 30)
        connection.execute(SLOW_UPDATES)
        command.upgrade(own.config(scratch), "heads")
        rows = connection.execute("SELECT count(*) FROM batches GROUP BY number ORDER BY number").fetchall()
    sizes = [int(str(size)) for (size,) in rows]
    assert sum(sizes) == 30
    assert max(sizes) <= 10
    assert sizes[2] <= 6, "a row takes 10 ms, so a batch has about 5 rows"


def test_backfill_batch_counts_scanned_rows(scratch: URL, own: Revisions, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds: list[float] = []
    record_duration = AdaptiveBatchSize.record_duration

    def record(size: AdaptiveBatchSize, batch: float) -> None:
        seconds.append(batch)
        record_duration(size, batch)

    monkeypatch.setattr(AdaptiveBatchSize, "record_duration", record)
    own.add("""op.backfill("users", "version = 2", where="pg_sleep(0.001) IS NULL OR email = '1@x.org'", pause=0)""")
    with connected(scratch) as connection:
        insert_users(connection, 200)
        command.upgrade(own.config(scratch), "heads")
        assert connection.execute("SELECT email FROM users WHERE version = 2").fetchall() == [("1@x.org",)]
    assert sum(seconds) > 0.2
    assert len(seconds) >= 5, "10 + 20 + 40 + 80 < 200: a batch that counted matching rows would scan all"
