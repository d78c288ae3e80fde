"""The drill `cancelled`: clients that hang up leave nothing behind, and nobody gets what was meant for another."""

import asyncio
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace

from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.ledger import Rows, rows
from tests.drills.load.exchange import ACKNOWLEDGED, CANCELLED
from tests.drills.load.jobs import Attempt, Job, Operation
from tests.drills.load.loading import loading, whole
from tests.drills.load.mixture import Seeds, only_writes, seeded
from tests.drills.service import UNHURRIED, Target, target
from tests.drills.verdicts import answered, kept, outcome, right, succeeded
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
PATIENCE_SECONDS = 30.0
"""After which what is waited for will not come any more, on the slowest machine."""
TIME_SECONDS = 3.0
"""Of the requests whose clients hang up while they wait for a lock."""
USERS = 50
LOOK_SECONDS = 0.2
SESSIONS = """
SELECT state FROM pg_stat_activity
WHERE datname = current_database() AND application_name = 'hexapost' AND coalesce(wait_event_type, '') LIKE %s
"""


def run(stage: Stage) -> Outcome:
    """Have clients hang up until that many have, with requests of patient clients in between."""
    database = stage.database.set(drivername=f"postgresql+{stage.driver}")
    variables = {**UNHURRIED, "HEXAPOST_POOL_SIZE": str(POOL_SIZE), "HEXAPOST_MAX_REQUESTS_IN_WORK": UNLIMITED}
    with target(stage, database, **variables) as service:
        seeds = seeded(service.job([], clients=CLIENTS))
        job = service.job(_operations(seeds), clients=CLIENTS, rate=RATE, seconds=LONGEST_SECONDS)
        attempts = _attempts(stage, job)
        quiet = _quiet(stage)
        places = _places(stage, service, seeds)
    variables |= {"HEXAPOST_REQUEST_TIMEOUT_SECONDS": str(TIME_SECONDS)}
    with target(stage, database, **variables) as service:
        abandoned = _abandoned(stage, service, seeds)
    stage.say(f"{stage.size.requests:,} operations are cancelled within a process")
    operations = asyncio.run(_operations_cancelled(stage))
    others = [one for one in attempts if one.outcome != CANCELLED]
    checks = [
        _hung_up(attempts, rows(stage.database)),
        right(attempts),
        succeeded(others),
        answered(others),
        quiet,
        places,
        abandoned,
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


def _hung_up(attempts: Sequence[Attempt], stored: Rows) -> Check:
    """Return that the service was at work for clients that were gone: some of what they left is stored."""
    gone = [one for one in attempts if one.outcome == CANCELLED]
    done = sum(one.operation in stored for one in only_writes(gone))
    figure = (
        f"{len(gone):,} of {len(attempts):,}, within {HANG_UP_SECONDS * 1000:g} ms; {done:,} writes done all the same"
    )
    return expect("clients hang up while their requests are worked on", figure, done > 0)


def _quiet(stage: Stage) -> Check:
    """Wait for a moment in which every session of the service is idle, and there are no more than the pool may have."""
    deadline = time.monotonic() + PATIENCE_SECONDS
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


@contextmanager
def _locked(stage: Stage) -> Iterator[None]:
    """Have requests about users wait for as long as the block."""
    with connected(stage.database) as connection, connection.transaction():
        connection.execute("LOCK TABLE users IN ACCESS EXCLUSIVE MODE")
        yield


def _waiting(stage: Stage, wanted: int) -> int:
    """Return how many sessions wait for a lock: as many as are wanted, unless that never comes about."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (waiting := len(_sessions(stage, "Lock"))) != wanted and time.monotonic() < deadline:
        time.sleep(0.02)
    return waiting


def _places(stage: Stage, service: Target, seeds: Seeds) -> Check:
    """Have as many requests as the pool has places wait for a lock: each has to get a connection."""
    with ExitStack() as held:
        held.enter_context(_locked(stage))
        with loading(service.job(seeds.reads()[:POOL_SIZE], clients=POOL_SIZE)) as load:
            waiting = _waiting(stage, POOL_SIZE)
            held.close()
            answers = load.wait(SETTLE_SECONDS)
    done = sum(one.outcome == ACKNOWLEDGED for one in answers)
    figure = f"{waiting} of {POOL_SIZE} are in use at once, {done} answers"
    return expect("every place of the pool can be used", figure, waiting == done == POOL_SIZE)


def _abandoned(stage: Stage, service: Target, seeds: Seeds) -> Check:
    """Have clients hang up while their requests wait for a lock, which is there for longer than their time.

    No statement has a limit that would end it, so that it is the service which ends them.
    """
    with _locked(stage):
        with loading(service.job(seeds.reads()[:POOL_SIZE], clients=POOL_SIZE, connected=True)):
            waiting = _waiting(stage, POOL_SIZE)
        gone = time.monotonic()  # with the process of the load
        left = _waiting(stage, 0)
        seconds = time.monotonic() - gone
    return _ended(waiting, left, seconds)


def _ended(waiting: int, left: int, seconds: float) -> Check:
    figure = f"{waiting} wait for a lock when their clients hang up, {left} are left after {seconds:.1f} s"
    claim = f"no statement goes on for long after the {TIME_SECONDS:g} s of its request"
    return expect(claim, figure, waiting == POOL_SIZE and left == 0)


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
    claim="Clients that hang up leak no connection, leave no statement running past its time, and mix up no answers.",
    run=run,
    full=Size(requests=20_000),
    quick=Size(requests=250),
)
