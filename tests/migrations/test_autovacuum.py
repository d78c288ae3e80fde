"""Autovacuum is no reason for a step to fail, however long it has to do."""

import asyncio
from pathlib import Path

from alembic import command

from migrations.patience import Patience
from tests.drills.own_postgres import own_postgres
from tests.migrations.revisions import Revisions
from tests.support.databases import connected
from tests.support.schemas import revisions
from tests.support.waiting import until

ROWS = """
    INSERT INTO users SELECT gen_random_uuid(), n || '@x.org', n || '@x.org', NULL, true, now(), now(), 1
    FROM generate_series(1, 20000) n
"""
SLOWLY = """
    ALTER TABLE users SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 100,
        autovacuum_vacuum_cost_delay = 100, autovacuum_vacuum_cost_limit = 1)
"""


async def test_autovacuum_lets_go_of_a_table(driver: str, own: Revisions, tmp_path: Path) -> None:
    with own_postgres(tmp_path / "server") as postgres, connected(postgres.url()) as connection:
        connection.execute("ALTER SYSTEM SET autovacuum_naptime = 1")
        connection.execute("SELECT pg_reload_conf()")
        connection.execute(SLOWLY)
        connection.execute(ROWS)
        connection.execute("UPDATE users SET version = 2")
        vacuumed = "SELECT FROM pg_stat_progress_vacuum WHERE relid = 'users'::regclass"
        await until(lambda: connection.execute(vacuumed).fetchone() is not None)
        own.add('op.add_column("users", sa.Column("a", sa.Text()))')
        own.add('op.add_check("ck_a", "users", "version > 0")')
        config = own.config(postgres.url(driver))
        config.attributes["patience"] = Patience(attempts=6, longest_pause=0.1)
        await asyncio.to_thread(command.upgrade, config, "heads")
        assert revisions(postgres.url()) == [own.last]
