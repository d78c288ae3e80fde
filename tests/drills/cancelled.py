"""The drill `cancelled`: clients that hang up leave nothing behind, and nobody gets what was meant for another."""

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.exchange import ACKNOWLEDGED, CANCELLED
from tests.drills.jobs import Attempt, Job, Operation
from tests.drills.loading import loading, whole
from tests.drills.mixture import Seeds, seeded
from tests.drills.service import Target, target
from tests.drills.verdicts import kept, outcome, right, succeeded
from tests.support.cancelling import cancel_many
from tests.support.databases import connected
from tests.support.examples import a_user, store_users
from tests.support.stores import PATIENT, opened
from tests.support.waiting import until

POOL_SIZE = 5
SESSIONS_AT_MOST = POOL_SIZE + 1
"""One more looks whether the database is ready, beside the pool."""
UNLIMITED = "10000"
"""A stall of a slow machine must not shed load: that is another drill's."""
CLIENTS = 100
RATE = 150.0
HANG_UP_SECONDS = 0.01
LONGEST_SECONDS = 7200.0
SETTLE_SECONDS = 60.0
QUIET_SECONDS = 5.0
"""How long a statement may go on after its client is gone."""
LOCKED_SECONDS = 1.8
USERS = 50
LOOK_SECONDS = 0.2
SESSIONS = """
SELECT state FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'hexapost' AND coalesce(wait_event_type, '') LIKE %s
"""


def run(stage: Stage) -> Outcome:
    """Have clients hang up until that many have, with requests of patient clients in between."""
    database = stage.database.set(drivername=f"postgresql+{stage.driver}")
    variables = {"HEXAPOST_POOL_SIZE": str(POOL_SIZE), "HEXAPOST_MAX_REQUESTS_IN_WORK": UNLIMITED}
    with target(stage, database, **variables) as service:
        seeds = seeded(service.job([], clients=CLIENTS))
        job = service.job(_operations(seeds), clients=CLIENTS, rate=RATE, seconds=LONGEST_SECONDS)
        attempts = _attempts(stage, job)
        quiet = _quiet(stage)
        places = _places(stage, service, seeds)
    stage.say(f"{stage.size.requests:,} operations are cancelled within a process")
    operations = asyncio.run(_operations_cancelled(stage))
    others = [one for one in attempts if one.outcome != CANCELLED]
    checks = [
        _hung_up(attempts, stage.size.requests),
        right(attempts),
        succeeded(others),
        quiet,
        places,
        operations,
        *kept(attempts, stage.database, seeds),
    ]
    return outcome(checks, attempts, [whole(attempts, "clients hang up")])


def _operations(seeds: Seeds) -> list[Operation]:
    """Return requests, three of four of them by clients that hang up."""
    patient = seeds.mixture(reads=1, writes=1)
    return [*patient, *(replace(one, hangs_up_within=HANG_UP_SECONDS) for one in patient * 3)]


def _attempts(stage: Stage, job: Job) -> Sequence[Attempt]:
    """Let the load run until so many clients have hung up before their answer came."""
    with loading(job) as load:
        while (done := sum(one.outcome == CANCELLED for one in list(load.attempts))) < stage.size.requests:
            stage.progress(done, stage.size.requests)
            load.check()
            time.sleep(LOOK_SECONDS)
        return load.finish(SETTLE_SECONDS)


def _hung_up(attempts: Sequence[Attempt], wanted: int) -> Check:
    count = sum(one.outcome == CANCELLED for one in attempts)
    figure = f"{count:,} of {len(attempts):,}, within {HANG_UP_SECONDS * 1000:g} ms"
    return expect("clients hang up before their answer comes", figure, count >= wanted)


def _quiet(stage: Stage) -> Check:
    """Wait for a moment in which every session of the service is idle, and there are no more than the pool may have."""
    deadline = time.monotonic() + QUIET_SECONDS
    while (states := _sessions(stage)) and time.monotonic() < deadline:
        if set(states) == {"idle"} and len(states) <= SESSIONS_AT_MOST:
            break
        time.sleep(0.05)
    wrong = [f"a session is {state}" for state in states if state != "idle"]
    if len(states) > SESSIONS_AT_MOST:
        wrong.append(f"there are {len(states)} sessions where {SESSIONS_AT_MOST} are meant")
    return expect("no session is left at work", f"{len(states)} sessions, all idle" if not wrong else "", wrong)


def _sessions(stage: Stage, event: str = "%") -> list[str]:
    with connected(stage.database) as connection:
        return [str(state) for (state,) in connection.execute(SESSIONS, [event])]


def _places(stage: Stage, service: Target, seeds: Seeds) -> Check:
    """Have as many requests as the pool has places wait for a lock: each has to get a connection."""
    reads = seeds.reads()[:POOL_SIZE]
    with connected(stage.database) as connection:
        connection.execute("BEGIN; LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        with loading(service.job(reads, clients=POOL_SIZE)) as load:
            deadline = time.monotonic() + LOCKED_SECONDS
            while (waiting := len(_sessions(stage, "Lock"))) < POOL_SIZE and time.monotonic() < deadline:
                time.sleep(0.02)
            connection.execute("ROLLBACK")
            answers = load.wait(SETTLE_SECONDS)
    done = sum(one.outcome == ACKNOWLEDGED for one in answers)
    figure = f"{waiting} of {POOL_SIZE} are in use at once, {done} answers"
    return expect("every place of the pool can be used", figure, waiting == done == POOL_SIZE)


async def _operations_cancelled(stage: Stage) -> Check:
    """Cancel use cases at random moments; what comes afterwards has to find every connection back in the pool."""
    logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of each
    users = [a_user() for _ in range(USERS)]
    async with opened(stage.database, stage.driver, replace(PATIENT, pool_size=POOL_SIZE)) as store:
        await store_users(store.storage, *users)
        found = await cancel_many(store.database, users, stage.size.requests, stage.seed)
        with suppress(AssertionError):
            await until(lambda: store.taken == 0)
        out = store.taken
        store.admin.execute("DELETE FROM users WHERE id = ANY(%s)", [[user.id for user in users]])
    mixed_up = len(found.mistaken)
    figure = f"{found.cancelled:,} cancelled, {found.answered:,} answered: {out} connections out, {mixed_up} mixed up"
    sound = not out and not mixed_up and found.cancelled >= stage.size.requests and found.answered > 0
    return expect("cancelled operations leak no connection and no answer", figure, sound)


CANCELLED_REQUESTS = Drill(
    name="cancelled",
    claim="Clients that hang up leak no connection, leave no statement running, and mix up no answers.",
    run=run,
    full=Size(requests=20_000),
    quick=Size(requests=400),
)
