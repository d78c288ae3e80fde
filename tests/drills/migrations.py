"""The drill `migrations`: the schema changes under the release before, up and down, and nobody notices."""

import time
from collections.abc import Iterator, Sequence

from alembic.config import Config

from migrations.patience import Patience
from tests.drills.drill import Drill, Outcome, Size, Stage
from tests.drills.load.errands import errands, told_apart
from tests.drills.load.loading import RunningLoad, beginning, loaded, loading
from tests.drills.load.mixture import seeded
from tests.drills.migrating.changing import Changes, Move
from tests.drills.migrating.filled import fill
from tests.drills.migrating.moved import Found, State, checks
from tests.drills.migrating.planted import SAFE, Planted, plant
from tests.drills.migrating.releases import taken
from tests.drills.service import errors, target
from tests.drills.verdicts import outcome
from tests.migrations.revisions import Revisions
from tests.support.databases import connected, with_driver
from tests.support.schemas import revisions, schema

CLIENTS = 20
POOL = 5
"""Few connections, so that each of them has prepared every statement before the first revision moves."""
RATE, SHORT_RATE = 100.0, 40.0
FIRST_NUMBER = 1_000_000_000
"""Of what is asked for to warm up: far from the numbers of the load that follows."""
WARM_UP = 2
"""How often each of the requests is sent before."""
LONGEST_SECONDS = 14_400.0
SETTLE_SECONDS = 60.0
OUTDATED_PLAN = "0A000"
_CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'hexapost'
"""


def run(stage: Stage, planted: Sequence[Planted] = SAFE) -> Outcome:
    """Move every revision that the release before lacks, then those that are planted, while that release serves."""
    release = taken(stage.release, stage.directory / "release")
    release.prepare(stage.database, stage.directory)
    begun = time.monotonic()
    filled = fill(stage.database, stage.size.rows)
    stage.say(f"{filled.posts:,} posts are there after {time.monotonic() - begun:.0f} s; {release.name} serves")
    changes = Changes(_config(stage, planted), stage.database, release=release.version)
    before = _state(stage)
    url = with_driver(stage.database, stage.driver)
    with target(stage, url, HEXAPOST_POOL_SIZE=str(POOL), **release.variables) as service:
        seeds = seeded(service.job([], clients=CLIENTS))
        operations = told_apart([*seeds.mixture(reads=1, writes=1), *errands(service, filled)])
        first = [one.numbered(number) for number, one in enumerate(operations * WARM_UP, FIRST_NUMBER)]
        warm = loaded(service.job(first, clients=CLIENTS), seconds=SETTLE_SECONDS)
        rate = RATE if stage.size.slack == 1.0 else SHORT_RATE
        with loading(service.job(operations, clients=CLIENTS, rate=rate, seconds=LONGEST_SECONDS)) as load:
            moves = list(_moved(stage, load, changes))
            attempts = load.finish(SETTLE_SECONDS)
        found = Found(
            release=release.name,
            filled=filled,
            seeds=seeds,
            warm=warm,
            pause=stage.size.seconds,
            connections=_connections(stage),
            outdated=errors(service, OUTDATED_PLAN),
            attempts=attempts,
            moves=moves,
            before=before,
            after=_state(stage),
        )
    begun = beginning(attempts)
    return outcome(checks(found, stage.database, stage.size), attempts, [move.mark(begun) for move in moves])


def _config(stage: Stage, planted: Sequence[Planted]) -> Config:
    """Return what moves the revisions of the tree and the planted ones, as patiently as `hexapost migrate` does."""
    directory = stage.directory / "planted"
    directory.mkdir()
    own = Revisions(directory)
    plant(own, planted)
    config = own.config(with_driver(stage.database, stage.driver))
    config.attributes["patience"] = Patience()
    return config


def _state(stage: Stage) -> State:
    return State(revisions=revisions(stage.database), schema=schema(stage.database))


def _moved(stage: Stage, load: RunningLoad, changes: Changes) -> Iterator[Move]:
    """Have one revision after the other move, with a pause before each and after the last."""
    total = 2 * len(changes.scripts)
    time.sleep(stage.size.seconds)
    for number, move in enumerate(changes.moves(), 1):
        load.check()
        yield move
        stage.progress(number, total)
        time.sleep(stage.size.seconds)


def _connections(stage: Stage) -> int:
    with connected(stage.database) as connection:
        return int(str((connection.execute(_CONNECTIONS).fetchone() or [0])[0]))


MIGRATIONS = Drill(
    name="migrations",
    claim="The release before serves 1,000,000 posts while each revision goes up and down: no request fails or stalls.",
    run=run,
    full=Size(rows=1_000_000, seconds=2.0),
    quick=Size(rows=10_000, seconds=0.3, slack=15.0, patient=True),
)
