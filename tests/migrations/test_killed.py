"""Tests for migrations in a process that is killed."""

import asyncio
import sys
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import URL

from tests.migrations.revision_fixtures import Revisions, insert_users
from tests.support.polling import wait_until
from tests.support.template_databases import Connection, connected, with_driver

pytestmark = pytest.mark.drill

HOLD = "SELECT FROM users WHERE id = (SELECT id FROM users ORDER BY id OFFSET 100 LIMIT 1) FOR UPDATE"
CHILD = """
import sys
from alembic import command
from sqlalchemy import make_url
from pathlib import Path
from tests.migrations.revision_fixtures import Revisions
from migrations.runner.lock_retry import LockRetryPolicy
policy = LockRetryPolicy(attempts=1000)
config = Revisions(Path(sys.argv[1])).config(make_url(sys.argv[2]), policy=policy, report=print)
command.upgrade(config, "heads")
"""


async def _child(directory: Path, url: URL) -> asyncio.subprocess.Process:
    """Start a process that migrates."""
    arguments = (CHILD, str(directory), with_driver(url, "asyncpg").render_as_string(hide_password=False))
    return await asyncio.create_subprocess_exec(sys.executable, "-uc", *arguments, stdout=asyncio.subprocess.PIPE)


def _updated(connection: Connection) -> int:
    (number,) = connection.execute("SELECT count(*) FROM users WHERE version = 2").fetchone() or (0,)
    return int(str(number))


async def test_killed_backfill_continues_after_its_last_batch(scratch: URL, own: Revisions) -> None:
    own.add('op.backfill("users", "version = version + 1", batch=100, pause=0)')
    with connected(scratch) as connection, connected(scratch) as other:
        insert_users(connection, 200)
        with other.transaction():
            other.execute(HOLD)  # the backfill cannot finish
            child = await _child(own.directory, scratch)
            await wait_until(lambda: child.returncode is not None or _updated(connection) > 0)
            child.kill()
            await child.communicate()
        assert 0 < _updated(connection) < 200
        reported: list[str] = []
        config = own.config(scratch, report=reported.append)
        await asyncio.to_thread(command.upgrade, config, "heads")
        assert any("continues after" in line for line in reported)
        assert connection.execute("SELECT version, count(*) FROM users GROUP BY 1").fetchall() == [(2, 200)]
        assert connection.execute("SELECT to_regclass('alembic_backfills')").fetchone() == (None,)
