"""The drill `conflicts`: deadlocks and serialization failures are the service's to deal with, not its clients'."""

import asyncio
import json
from collections import Counter
from collections.abc import Sequence

from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.exchange import ACKNOWLEDGED
from tests.drills.jobs import NUMBER, Attempt, Operation
from tests.drills.loading import loaded, whole
from tests.drills.mixture import READ, Seeds, seeded
from tests.drills.service import target
from tests.drills.verdicts import kept, outcome, right, succeeded
from tests.support.databases import connected
from tests.support.waiting import until

CLIENTS = 20
RATE = 60.0
SETTLE_SECONDS = 60.0
CONTENDED = 3
"""Users that are changed again and again, by whoever comes."""
FAULTS = """
CREATE SEQUENCE drill_raised;
CREATE SEQUENCE drill_turns;
CREATE FUNCTION drill_conflict() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    first bigint;
BEGIN
    IF random() < 0.1 THEN
        PERFORM nextval('drill_raised');
        RAISE EXCEPTION 'drilled' USING ERRCODE = CASE WHEN random() < 0.5 THEN '40001' ELSE '40P01' END;
    END IF;
    IF random() < 0.1 THEN
        -- Each comes in the opposite order to the one before: while that one sleeps, they are a deadlock, a real one.
        first := 1 + nextval('drill_turns') % 2;
        PERFORM pg_advisory_xact_lock(first);
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
OTHERS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


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
    checks = [
        _conflicts(stage),
        succeeded(attempts),
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


def _conflicts(stage: Stage) -> Check:
    with connected(stage.database) as connection:
        # A session reports its deadlocks when it ends, at the latest.
        asyncio.run(until(lambda: connection.execute(OTHERS).fetchone() == (0,)))
        raised = connection.execute("SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM drill_raised")
        (injected,) = raised.fetchone() or (0,)
        found = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        (deadlocks,) = found.fetchone() or (0,)
    figure = f"{injected:,} errors raised, {deadlocks:,} real deadlocks"
    return expect("there are conflicts", figure, int(str(injected)) > 0 and int(str(deadlocks)) > 0)


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
    quick=Size(seconds=6.0),
)
