"""The drill `conflicts`: the service retries deadlocks and serialization failures."""

import json
from collections import Counter
from collections.abc import Sequence

from adapters.testing.template_databases import connected
from tests.cli.support import wait_until
from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import NUMBER, Attempt, RequestSpec
from tests.drills.load.load_runner import run_load
from tests.drills.load.workload import SeedData, insert_seed_data
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, Verification, verify
from tests.drills.service_under_test import sessions, target
from tests.drills.verifications import standard_checks, window_of_load

RATE = 60.0
CONTENDED = 3
"""Users that many requests change at the same time."""
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
        -- Two calls in a row take two locks in opposite order. If they overlap, it is a real deadlock.
        first := 1 + nextval('drill_turns') % 2;
        -- Do not wait for the first lock: a queue would reach the statement timeout.
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
INJECTED = """
SELECT CASE WHEN a.is_called THEN a.last_value ELSE 0 END, CASE WHEN b.is_called THEN b.last_value ELSE 0 END,
       (SELECT deadlocks FROM pg_stat_database WHERE datname = current_database())
FROM drill_40001 AS a, drill_40p01 AS b
"""


def run(stage: ScenarioContext) -> ScenarioResult:
    with connected(stage.database) as connection:
        connection.execute(f"ALTER DATABASE \"{stage.database.database}\" SET deadlock_timeout = '50ms'".encode())
    with target(stage, stage.url) as service:
        seeds = insert_seed_data(service.job())
        with connected(stage.database) as connection:
            connection.execute(FAULTS.encode())
        operations = [*seeds.weighted_mix(writes=2), *_changes(seeds)]
        attempts = run_load(service.job(operations, rate=RATE, seconds=stage.size.seconds), stage.progress)
    checks = [
        _check_conflicts(stage),
        _versions(attempts, stage, seeds),
        *standard_checks(attempts, stage.database, seeds),
    ]
    return ScenarioResult(checks, attempts, [window_of_load(attempts, "conflicts are frequent")])


def _contended(seeds: SeedData) -> Sequence[str]:
    return list(seeds.authors.values())[:CONTENDED]


def _changes(seeds: SeedData) -> list[RequestSpec]:
    return [
        RequestSpec(
            name=f"{NUMBER} {id_}",
            method="PATCH",
            path=f"/api/v1/users/{id_}",
            body=json.dumps({"full_name": f"Change {NUMBER}"}),
            expects=json.dumps(f"Change {NUMBER}"),
        )
        for id_ in _contended(seeds)
        for _ in range(15)
    ]


def _check_conflicts(stage: ScenarioContext) -> Verification:
    """Count conflicts. In read committed, which the service sets, real serialization failures do not occur."""
    wait_until(lambda: not sessions(stage.database))  # a session reports its deadlocks when it ends, at the latest
    with connected(stage.database) as connection:
        (found,) = connection.execute(INJECTED).fetchall()
    failures, injected_deadlocks, deadlocks = (int(str(count)) for count in found)
    return _conflicts(deadlocks, injected_deadlocks, failures)


def _conflicts(deadlocks: int, injected_deadlocks: int, failures: int) -> Verification:
    figure = f"{deadlocks:,} real deadlocks and {injected_deadlocks:,} injected"
    figure += f", {failures:,} injected serialization failures"
    return verify("conflicts of each kind occur", figure, min(deadlocks, injected_deadlocks, failures) > 0, is_key=True)


def _versions(attempts: Sequence[Attempt], stage: ScenarioContext, seeds: SeedData) -> Verification:
    """Compare the number of updates of each contended user with its version: a lost update would be missing."""
    patched = [one for one in attempts if one.outcome == ACKNOWLEDGED and one.kind.startswith("PATCH")]
    changes = Counter(one.operation.split(" ")[1] for one in patched)
    with connected(stage.database) as connection:
        found = connection.execute("SELECT id::text, version FROM users").fetchall()
    versions = {str(id_): int(str(version)) for id_, version in found}
    wrong = [
        f"user {id_} was updated {changes[id_]} times and has version {versions[id_]}"
        for id_ in _contended(seeds)
        if versions[id_] != 1 + changes[id_]
    ]
    return verify("no update is lost", f"{changes.total():,} updates of {CONTENDED} users", wrong, is_key=True)


CONFLICTS = Scenario(
    name="conflicts",
    claim="Deadlocks and injected serialization failures fail no request of 20 clients and lose no update.",
    run=run,
    full=ScenarioSize(seconds=60.0),
    quick=ScenarioSize(seconds=6.0, patient=True),
    # One driver: the service retries by SQLSTATE, and tests/postgres/test_sqlstates.py tests both.
)
