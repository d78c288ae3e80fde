"""The drill `cancelled`: requests of disconnected clients leave no open work."""

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace

from adapters.database_url import DRIVERS
from tests.cli.support import wait_until
from tests.drills.load.http_connection import ACKNOWLEDGED, CANCELLED
from tests.drills.load.load_job import Attempt, LoadJob, RequestSpec
from tests.drills.load.load_runner import ENDLESS, running_load
from tests.drills.load.workload import SeedData, insert_seed_data, only_writes, reading
from tests.drills.reconciliation import Rows, rows
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, Verification, verify
from tests.drills.service_under_test import LONG_TIMEOUTS, ServiceUnderTest, locked, sessions, target
from tests.drills.verifications import standard_checks, window_of_load

POOL_SIZE = 5
SESSIONS_AT_MOST = POOL_SIZE + 1
"""The readiness monitor has a session beside the pool."""
UNLIMITED = "10000"
"""Concurrent requests: a stall of a slow machine must not cause a 503."""
CLIENTS = 100
RATE = 150.0
HANG_UP_SECONDS = 0.01
PATIENCE_SECONDS = 30.0
TIME_SECONDS = 1.0
"""Request timeout while clients disconnect from requests that wait for a lock."""
LOOK_SECONDS = 0.1
LOCK = "users IN ACCESS EXCLUSIVE MODE"
"""Blocks requests for users."""
BLOCKED = [reading("/api/v1/users?limit=1", expects="items")] * POOL_SIZE
"""Requests that occupy a connection each: concurrent requests for pages do not share a statement."""


def run(stage: ScenarioContext) -> ScenarioResult:
    """Let some clients disconnect while other clients wait for their responses."""
    variables = {
        **LONG_TIMEOUTS,
        "HEXAPOST_DB_POOL_SIZE": str(POOL_SIZE),
        "HEXAPOST_MAX_CONCURRENT_REQUESTS": UNLIMITED,
    }
    with target(stage, stage.url, **variables) as service:
        seeds = insert_seed_data(service.job())
        attempts = _attempts(stage, service.job(_operations(seeds), clients=CLIENTS, rate=RATE, seconds=ENDLESS))
        idle = _check_sessions_idle(stage)
        usable = _check_pool_usable(stage, service, "every connection of the pool can be used")
    variables |= {"HEXAPOST_REQUEST_TIMEOUT_SECONDS": str(TIME_SECONDS)}
    with target(stage, stage.url, **variables) as service:
        abandoned = _abandoned(stage, service)
        usable_again = _check_pool_usable(stage, service, "every connection can be used after the request timeouts")
    others = [one for one in attempts if one.outcome != CANCELLED]
    checks = [
        _hung_up(attempts, rows(stage.database)),
        idle,
        usable,
        abandoned,
        usable_again,
        *standard_checks(attempts, stage.database, seeds, claimed=others),
    ]
    return ScenarioResult(checks, attempts, [window_of_load(attempts, "clients disconnect")])


def _operations(seeds: SeedData) -> list[RequestSpec]:
    """Return requests; the clients of three of four disconnect."""
    waiting = seeds.weighted_mix()
    return [*waiting, *(replace(one, disconnect_within=HANG_UP_SECONDS) for one in waiting * 3)]


def _attempts(stage: ScenarioContext, job: LoadJob) -> Sequence[Attempt]:
    """Run the load until enough clients have disconnected before the response."""
    with running_load(job) as load:
        while (done := sum(one.outcome == CANCELLED for one in list(load.attempts))) < stage.size.requests:
            stage.progress(done, stage.size.requests)
            load.check()
            time.sleep(LOOK_SECONDS)
        return load.finish()


def _hung_up(attempts: Sequence[Attempt], stored: Rows) -> Verification:
    """Check that some writes of disconnected clients were stored: the service was working on them."""
    gone = [one for one in attempts if one.outcome == CANCELLED]
    done = sum(one.operation in stored for one in only_writes(gone))
    figure = f"{len(gone):,} of {len(attempts):,}, within {HANG_UP_SECONDS * 1000:g} ms; {done:,} of them are stored"
    return verify("clients disconnect during their requests", figure, done > 0, is_key=True)


def _await(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds; if it never does, the check that follows fails."""
    with suppress(AssertionError):
        wait_until(condition, PATIENCE_SECONDS)


def _check_sessions_idle(stage: ScenarioContext) -> Verification:
    """Check that all sessions of the service become idle, and that the pool has no more than its size."""
    _await(lambda: set(states := sessions(stage.database)) == {"idle"} and len(states) <= SESSIONS_AT_MOST)
    states = sessions(stage.database)
    wrong = [f"a session is {state}" for state in states if state != "idle"]
    if len(states) > SESSIONS_AT_MOST:
        wrong.append(f"{len(states)} sessions instead of {SESSIONS_AT_MOST}")
    return verify("all sessions become idle", f"{len(states)} sessions", wrong, is_key=True)


def _waiting(stage: ScenarioContext, expected: int) -> int:
    """Wait until this many sessions wait for a lock, and return the number of the last look."""
    found = -1

    def is_reached() -> bool:
        nonlocal found
        found = len(sessions(stage.database, waiting_for="Lock"))
        return found == expected

    _await(is_reached)  # a further look could miss a request that has reached its timeout since
    return found


def _check_pool_usable(stage: ScenarioContext, service: ServiceUnderTest, claim: str) -> Verification:
    """Check that as many requests as the pool has connections can wait for a lock at once.

    A request that exceeds its timeout meanwhile is sent again.
    """
    with ExitStack() as held:
        held.enter_context(locked(stage.database, LOCK))
        with running_load(service.job(BLOCKED, clients=POOL_SIZE, retry_seconds=PATIENCE_SECONDS)) as load:
            waiting = _waiting(stage, POOL_SIZE)
            held.close()
            return _usable(claim, waiting, load.wait())


def _usable(claim: str, waiting: int, attempts: Sequence[Attempt]) -> Verification:
    done = sum(one.outcome == ACKNOWLEDGED for one in attempts)
    figure = f"{waiting} of {POOL_SIZE} are in use at once, {done} responses"
    return verify(claim, figure, waiting == done == POOL_SIZE)


def _abandoned(stage: ScenarioContext, service: ServiceUnderTest) -> Verification:
    """Let clients disconnect from requests that wait for a lock for longer than the request timeout.

    The statement timeout is longer, so only the service can end the statements.
    """
    with locked(stage.database, LOCK):
        with running_load(service.job(BLOCKED, clients=POOL_SIZE, connected=True)):
            waiting = _waiting(stage, POOL_SIZE)
        gone = time.monotonic()  # the end of the block has killed the load generator
        left = _waiting(stage, 0)
        seconds = time.monotonic() - gone
    return _ended(waiting, left, seconds)


def _ended(waiting: int, left: int, seconds: float) -> Verification:
    figure = f"{waiting} wait for a lock when their clients disconnect, {left} are left after {seconds:.1f} s"
    claim = f"no statement outlives the {TIME_SECONDS:g} s of its request for long"
    return verify(claim, figure, waiting == POOL_SIZE and left == 0)


CANCELLED_REQUESTS = Scenario(
    name="cancelled",
    claim="Disconnected clients leak no connection, leave no statement running, and mix up no responses.",
    run=run,
    full=ScenarioSize(requests=10_000),
    quick=ScenarioSize(requests=250),
    # Both drivers: each ends the statement of a cancelled request with its own protocol code.
    drivers=DRIVERS,
)
