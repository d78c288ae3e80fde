"""The drill `migrations`: schema changes go up and down while the previous release serves without errors or stalls."""

import time
from collections.abc import Iterator, Sequence

from alembic.config import Config

from migrations.runner.lock_retry import LockRetryPolicy
from tests.drills.load.capacity import FIRST_NUMBER
from tests.drills.load.load_runner import ENDLESS, RunningLoad, run_load, running_load
from tests.drills.load.mixed_requests import mixed_requests
from tests.drills.load.workload import insert_seed_data
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, verify
from tests.drills.schema_changes.bulk_data import insert_bulk_data
from tests.drills.schema_changes.previous_release import checkout_release
from tests.drills.schema_changes.revision_cycle import RevisionCycle, RevisionRun
from tests.drills.schema_changes.sample_revisions import SAFE_REVISIONS, SampleRevision, write_sample_revisions
from tests.drills.schema_changes.schema_change_checks import load_checks, rows_unchanged, schema_checks, warm_up_check
from tests.drills.service_under_test import errors, sessions, target
from tests.migrations.revision_fixtures import Revisions
from tests.support.schema_dump import revisions, schema

POOL = 5
"""So few connections that each has prepared every statement before the first revision."""
RATE, SHORT_RATE = 100.0, 40.0
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
        operations = [*seeds.weighted_mix(), *mixed_requests(service, filled)]
        first = [one.numbered(number) for number, one in enumerate(operations * WARM_UP, FIRST_NUMBER)]
        warm = run_load(service.job(first))
        rate = SHORT_RATE if stage.size.hang_seconds else RATE
        with running_load(service.job(operations, rate=rate, seconds=ENDLESS)) as load:
            moves = list(_moved(stage, load, changes))
            attempts = load.finish()
        outdated = errors(service, OUTDATED_PLAN)
        is_warm = warm_up_check(warm, attempts, len(sessions(stage.database)), outdated)
        after = _state(stage)
    ups = sum(move.direction == "up" for move in moves)
    claim = f"the previous release serves while {ups} revisions go up and down"
    figure = f"{release.name}, at schema {', '.join(revisions(stage.database))}, {filled.posts:,} posts"
    checks = [
        verify(claim, figure, ups > 0 and 2 * ups == len(moves), is_key=True),
        is_warm,
        *load_checks(attempts, moves, stage.size),
        *schema_checks(before, after, moves),
        *rows_unchanged([*warm, *attempts], filled, seeds, stage.database),
    ]
    return ScenarioResult(checks, attempts, [move.window for move in moves])


def _config(stage: ScenarioContext, planted: Sequence[SampleRevision]) -> Config:
    """Return the configuration for all revisions, with the same lock retries as `hexapost migrate`."""
    directory = stage.directory / "planted"
    directory.mkdir()
    own = Revisions(directory)
    write_sample_revisions(own, planted)
    config = own.config(stage.url)
    config.attributes["lock_retry_policy"] = LockRetryPolicy()
    return config


def _state(stage: ScenarioContext) -> list[str]:
    """Return the lines of the schema, and its revisions."""
    return [*schema(stage.database), *(f"revision {name}" for name in revisions(stage.database))]


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
    # One driver: locks depend on PostgreSQL. The short form runs over both, because each prepares statements itself.
)
