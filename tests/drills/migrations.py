"""The drill `migrations`: schema changes go up and down while the previous release serves without errors or stalls."""

import time
from collections.abc import Iterator, Sequence

from alembic.config import Config

from migrations.runner.lock_retry import LockRetryPolicy
from tests.drills.load.load_runner import ENDLESS, RunningLoad, run_load, running_load
from tests.drills.load.mixed_requests import label_by_kind, mixed_requests
from tests.drills.load.workload import insert_seed_data
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize
from tests.drills.schema_changes.bulk_data import insert_bulk_data
from tests.drills.schema_changes.previous_release import checkout_release
from tests.drills.schema_changes.revision_cycle import RevisionCycle, RevisionRun
from tests.drills.schema_changes.sample_revisions import SAFE_REVISIONS, SampleRevision, write_sample_revisions
from tests.drills.schema_changes.schema_change_checks import Observations, SchemaSnapshot, checks
from tests.drills.service_under_test import errors, sessions, target
from tests.drills.verifications import beginning, outcome
from tests.migrations.revision_fixtures import Revisions
from tests.support.schema_dump import revisions, schema

POOL = 5
"""So few connections that each has prepared every statement before the first revision."""
RATE, SHORT_RATE = 100.0, 40.0
FIRST_NUMBER = 1_000_000_000
"""First number of the warm-up: larger than any number of the load that follows."""
WARM_UP = 2
"""Number of times that each request is sent before."""
OUTDATED_PLAN = "0A000"


def run(stage: ScenarioContext, planted: Sequence[SampleRevision] = SAFE_REVISIONS) -> ScenarioResult:
    """Run every revision that the release lacks, then the planted ones, while the release serves."""
    release = checkout_release(stage.release, stage.directory / "release")
    release.prepare(stage.database, stage.directory)
    filled = insert_bulk_data(stage.database, stage.size.rows)
    stage.say(f"{filled.posts:,} posts are stored; {release.name} serves")
    changes = RevisionCycle(_config(stage, planted), stage.database, release=release.version)
    before = _state(stage)
    with target(stage, stage.url, HEXAPOST_DB_POOL_SIZE=str(POOL), **release.variables) as service:
        seeds = insert_seed_data(service.job())
        operations = label_by_kind([*seeds.weighted_mix(), *mixed_requests(service, filled)])
        first = [one.numbered(number) for number, one in enumerate(operations * WARM_UP, FIRST_NUMBER)]
        warm = run_load(service.job(first))
        rate = SHORT_RATE if stage.size.hang_seconds else RATE
        with running_load(service.job(operations, rate=rate, seconds=ENDLESS)) as load:
            moves = list(_moved(stage, load, changes))
            attempts = load.finish()
        found = Observations(
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


def _config(stage: ScenarioContext, planted: Sequence[SampleRevision]) -> Config:
    """Return the configuration for all revisions, with the same lock retries as `hexapost migrate`."""
    directory = stage.directory / "planted"
    directory.mkdir()
    own = Revisions(directory)
    write_sample_revisions(own, planted)
    config = own.config(stage.url)
    config.attributes["lock_retry_policy"] = LockRetryPolicy()
    return config


def _state(stage: ScenarioContext) -> SchemaSnapshot:
    return SchemaSnapshot(revisions=revisions(stage.database), schema=schema(stage.database))


def _moved(stage: ScenarioContext, load: RunningLoad, changes: RevisionCycle) -> Iterator[RevisionRun]:
    """Run one revision after the other, with a pause before each and after the last."""
    total = 2 * len(changes.scripts)
    time.sleep(stage.size.seconds)
    for number, move in enumerate(changes.moves(), 1):
        load.check()
        yield move
        stage.progress(number, total)
        time.sleep(stage.size.seconds)


MIGRATIONS = Scenario(
    name="migrations",
    claim="The previous release serves 1,000,000 posts while each revision goes up and down: no error, no stall.",
    run=run,
    full=ScenarioSize(rows=1_000_000, seconds=2.0),
    quick=ScenarioSize(rows=2_000, seconds=0.2, hang_seconds=20.0, patient=True),
)
