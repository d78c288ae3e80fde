"""Operations that nobody waits for any more: nothing leaks, and no answer goes to another question."""

import asyncio
import os
from dataclasses import replace

from sqlalchemy import URL

from tests.support.cancelling import cancel_many
from tests.support.examples import a_user, store_users
from tests.support.probes import Probe, backend
from tests.support.stores import PATIENT, opened
from tests.support.waiting import until

TIMES = int(os.environ.get("CANCELLED_OPERATIONS", "500"))
OTHERS = """
    SELECT count(*) FILTER (WHERE state <> 'idle'), count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
PLACES = 8


async def test_cancelled_operations_leak_nothing(scratch: URL, driver: str) -> None:
    async with opened(scratch, driver, replace(PATIENT, pool_size=PLACES)) as store:
        users = [a_user() for _ in range(50)]
        await store_users(store.storage, *users)
        found = await cancel_many(store.database, users, TIMES)
        assert found.cancelled >= TIMES
        assert found.answered > 0
        assert found.mistaken == []
        await until(lambda: store.taken == 0)
        await until(lambda: store.database._places._value == PLACES)
        together = asyncio.Barrier(PLACES)

        async def body(work: object) -> int:
            pid = await backend(work)  # type: ignore[arg-type]
            await asyncio.wait_for(together.wait(), 30)
            return pid

        probe = Probe(store.storage)
        assert len(set(await asyncio.gather(*[probe.look(body) for _ in range(PLACES)]))) == PLACES
        await until(lambda: store.admin.execute(OTHERS).fetchone() == (0, PLACES))
