"""The drill `conflicts`: deadlocks and serialization failures are the service's to deal with, not its clients'."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import astuple, dataclass

from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.load.exchange import ACKNOWLEDGED
from tests.drills.load.jobs import NUMBER, Attempt, Operation
from tests.drills.load.loading import loaded, whole
from tests.drills.load.mixture import READ, Seeds, seeded
from tests.drills.service import errors, target
from tests.drills.verdicts import answered, kept, outcome, right, succeeded
from tests.support.databases import connected
from tests.support.waiting import until

CLIENTS = 20
RATE = 60.0
SETTLE_SECONDS = 60.0
CONTENDED = 3
"""Users that are changed again and again, by whoever comes."""
FAULTS = """
CREATE SEQUENCE drill_40001;
CREATE SEQUENCE drill_40p01;
CREATE SEQUENCE drill_turns;
CREATE FUNCTION drill_conflict() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first bigint;
BEGIN
    IF random() < 0.05 THEN
        PERFORM nextval('drill_40001');
        RAISE EXCEPTION 'drilled' USING ERRCODE = '40001';
    END IF;
    IF random() < 0.05 THEN
        PERFORM nextval('drill_40p01');
        RAISE EXCEPTION 'drilled' USING ERRCODE = '40P01';
    END IF;
    IF random() < 0.2 THEN
        -- Each comes in the opposite order to the one before: while that one sleeps, they are a deadlock, a real one.
        first := 1 + nextval('drill_turns') % 2;
        -- Nobody stands in line for the first: who came late would let statements run into their limit.
        IF NOT pg_try_advisory_xact_lock(first) THEN
            RETURN NEW;
        END IF;
        PERFORM pg_sleep(0.15);
        PERFORM pg_advisory_xact_lock(3 - first);
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER drill_users BEFORE INSERT OR UPDATE ON users FOR EACH ROW EXECUTE FUNCTION drill_conflict();
CREATE TRIGGER drill_posts BEFORE INSERT OR UPDATE ON posts FOR EACH ROW EXECUTE FUNCTION drill_conflict();
"""
SETTINGS = ("default_transaction_isolation = 'repeatable read'", "deadlock_timeout = '50ms'")
"""The first makes every two changes of one row at once a serialization failure, a real one."""
INJECTED = """
SELECT CASE WHEN a.is_called THEN a.last_value ELSE 0 END, CASE WHEN b.is_called THEN b.last_value ELSE 0 END
FROM drill_40001 AS a, drill_40p01 AS b
"""
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
SERIALIZATION_FAILURE = "40001"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflicts:
    """How many there were; real serialization failures are those that the service has met and nobody has injected."""

    injected_failures: int
    injected_deadlocks: int
    real_failures: int
    real_deadlocks: int


def run(stage: Stage) -> Outcome:
    """Write to a database in which conflicts are frequent."""
    database = stage.database.set(drivername=f"postgresql+{stage.driver}")
    with target(stage, database) as service:
        seeds = seeded(service.job([], clients=CLIENTS))
    with connected(stage.database) as connection:
        for setting in SETTINGS:
            connection.execute(f'ALTER DATABASE "{stage.database.database}" SET {setting}'.encode())
        connection.execute(FAULTS.encode())
    with target(stage, database) as service:
        operations = [*seeds.mixture(reads=1, writes=2), *_changes(seeds)]
        job = service.job(operations, clients=CLIENTS, rate=RATE, seconds=stage.size.seconds)
        attempts = loaded(job, seconds=stage.size.seconds + SETTLE_SECONDS, progress=stage.progress)
        met = errors(service, SERIALIZATION_FAILURE)
    checks = [
        _conflicts(_found(stage, met)),
        succeeded(attempts),
        answered(attempts),
        right(attempts),
        _versions(attempts, stage, seeds),
        *kept(attempts, stage.database, seeds),
    ]
    return outcome(checks, attempts, [whole(attempts, "conflicts are frequent")])


def _contended(seeds: Seeds) -> Sequence[str]:
    return list(seeds.authors.values())[:CONTENDED]


def _changes(seeds: Seeds) -> list[Operation]:
    """Return changes of few users. They store nothing that a ledger of rows would know."""
    return [
        Operation(
            name=f"{READ} {NUMBER} {id_}",
            method="PATCH",
            path=f"/api/v1/users/{id_}",
            body=json.dumps({"full_name": f"Change {NUMBER}"}),
            expects=json.dumps(f"Change {NUMBER}"),
        )
        for id_ in _contended(seeds)
        for _ in range(15)
    ]


def _found(stage: Stage, met: int) -> Conflicts:
    with connected(stage.database) as connection:
        # A session reports its deadlocks when it ends, at the latest.
        asyncio.run(until(lambda: connection.execute(OTHERS).fetchone() == (0,)))
        failures, deadlocks = connection.execute(INJECTED).fetchone() or (0, 0)
        found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        (real,) = found.fetchone() or (0,)
    return Conflicts(
        injected_failures=int(str(failures)),
        injected_deadlocks=int(str(deadlocks)),
        real_failures=met - int(str(failures)),
        real_deadlocks=int(str(real)),
    )


def _conflicts(found: Conflicts) -> Check:
    """Return that there were some of each kind."""
    figure = (
        f"{found.real_deadlocks:,} real deadlocks and {found.injected_deadlocks:,} injected, "
        f"{found.real_failures:,} real serialization failures and {found.injected_failures:,} injected"
    )
    return expect("there are conflicts of each kind", figure, min(astuple(found)) > 0)


def _versions(attempts: Sequence[Attempt], stage: Stage, seeds: Seeds) -> Check:
    """Compare how often each contended user was changed with its version: a change that is lost would be missing."""
    names = (one.operation.split(" ") for one in attempts if one.outcome == ACKNOWLEDGED)
    changes = Counter(words[2] for words in names if words[0] == READ and len(words) > 2)
    with connected(stage.database) as connection:
        found = connection.execute("SELECT id::text, version FROM users").fetchall()
    versions = {str(id_): int(str(version)) for id_, version in found}
    wrong = [
        f"user {id_} was changed {changes[id_]} times and has version {versions[id_]}"
        for id_ in _contended(seeds)
        if versions[id_] != 1 + changes[id_]
    ]
    figure = f"{changes.total():,} changes of {CONTENDED} users"
    return expect("no change is lost to another at the same time", figure, wrong)


CONFLICTS = Drill(
    name="conflicts",
    claim="Deadlocks and serialization failures, injected and real, fail no request of 20 clients and lose no change.",
    run=run,
    full=Size(seconds=60.0),
    quick=Size(seconds=6.0, patient=True),
)
