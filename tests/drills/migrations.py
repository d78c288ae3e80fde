"""The drill `migrations`: schema changes go up and down while the previous release serves without errors or stalls."""

import time
from collections.abc import Iterator, Sequence

from alembic.config import Config

from migrations.runner.lock_retry import LockRetryPolicy
from tests.drills.drill import Drill, Outcome, Size, Stage
from tests.drills.load.errands import errands, told_apart
from tests.drills.load.loading import ENDLESS, RunningLoad, loaded, loading
from tests.drills.load.mixture import seeded
from tests.drills.migrating.changing import Changes, Move
from tests.drills.migrating.filled import fill
from tests.drills.migrating.moved import Found, State, checks
from tests.drills.migrating.planted import SAFE, Planted, plant
from tests.drills.migrating.releases import taken
from tests.drills.service import errors, sessions, target
from tests.drills.verdicts import beginning, outcome
from tests.migrations.revision_fixtures import Revisions
from tests.support.schemas import revisions, schema

POOL = 5
"""So few connections that each has prepared every statement before the first revision."""
RATE, SHORT_RATE = 100.0, 40.0
FIRST_NUMBER = 1_000_000_000
"""First number of the warm-up: larger than any number of the load that follows."""
WARM_UP = 2
"""Number of times that each request is sent before."""
OUTDATED_PLAN = "0A000"


def run(stage: Stage, planted: Sequence[Planted] = SAFE) -> Outcome:
    """Run every revision that the release lacks, then the planted ones, while the release serves."""
    release = taken(stage.release, stage.directory / "release")
    release.prepare(stage.database, stage.directory)
    filled = fill(stage.database, stage.size.rows)
    stage.say(f"{filled.posts:,} posts are stored; {release.name} serves")
    changes = Changes(_config(stage, planted), stage.database, release=release.version)
    before = _state(stage)
    with target(stage, stage.url, HEXAPOST_DB_POOL_SIZE=str(POOL), **release.variables) as service:
        seeds = seeded(service.job())
        operations = told_apart([*seeds.mixture(), *errands(service, filled)])
        first = [one.numbered(number) for number, one in enumerate(operations * WARM_UP, FIRST_NUMBER)]
        warm = loaded(service.job(first))
        rate = RATE if stage.size.slack == 1.0 else SHORT_RATE
        with loading(service.job(operations, rate=rate, seconds=ENDLESS)) as load:
            moves = list(_moved(stage, load, changes))
            attempts = load.finish()
        found = Found(
            release=release.name,
            filled=filled,
            seeds=seeds,
            warm=warm,
            pause=stage.size.seconds,
            connections=len(sessions(stage.database)),
            outdated=errors(service, OUTDATED_PLAN),
            attempts=attempts,
            moves=moves,
            before=before,
            after=_state(stage),
        )
    begun = beginning(attempts)
    return outcome(checks(found, stage.database, stage.size), attempts, [move.mark(begun) for move in moves])


def _config(stage: Stage, planted: Sequence[Planted]) -> Config:
    """Return the configuration for all revisions, with the same lock retries as `hexapost migrate`."""
    directory = stage.directory / "planted"
    directory.mkdir()
    own = Revisions(directory)
    plant(own, planted)
    config = own.config(stage.url)
    config.attributes["lock_retry_policy"] = LockRetryPolicy()
    return config


def _state(stage: Stage) -> State:
    return State(revisions=revisions(stage.database), schema=schema(stage.database))


def _moved(stage: Stage, load: RunningLoad, changes: Changes) -> Iterator[Move]:
    """Run one revision after the other, with a pause before each and after the last."""
    total = 2 * len(changes.scripts)
    time.sleep(stage.size.seconds)
    for number, move in enumerate(changes.moves(), 1):
        load.check()
        yield move
        stage.progress(number, total)
        time.sleep(stage.size.seconds)


MIGRATIONS = Drill(
    name="migrations",
    claim="The previous release serves 1,000,000 posts while each revision goes up and down: no error, no stall.",
    run=run,
    full=Size(rows=1_000_000, seconds=2.0),
    quick=Size(rows=2_000, seconds=0.2, slack=15.0, patient=True),
)
