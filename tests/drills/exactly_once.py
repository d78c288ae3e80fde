"""The drill `exactly-once`: a write with an Idempotency-Key is executed once, although connections are cut."""

import random
from collections.abc import Sequence
from dataclasses import replace

from adapters.database_url import DRIVERS
from tests.drills.faults.http_proxy import FAULTS, HttpProxy
from tests.drills.faults.postgres_proxy import ACK_DROPPED, REQUEST_DROPPED, PostgresProxy
from tests.drills.faults.proxy import Proxy, running
from tests.drills.load.load_job import Attempt, LoadJob, RequestSpec
from tests.drills.load.load_runner import run_load
from tests.drills.load.workload import AUTHORS, SeedData, insert_seed_data, post, user
from tests.drills.reconciliation import Reconciliation, rows
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, Verification, verify
from tests.drills.service_under_test import target
from tests.drills.verifications import acknowledged, stored, window_of_load

PATIENCE_SECONDS = 60.0
CUT_REQUESTS = 0.10
CUT_ACKNOWLEDGEMENTS = 0.04
CUT_STATEMENTS = 0.005
ENOUGH = 2_000
"""Requests after which each kind of fault has occurred."""
REPEATED = 200
"""Acknowledged requests that are sent again."""
REPLAYED = "idempotency-replayed"
_SAME = ("location", "etag", "content-type")


def run(stage: ScenarioContext, *, with_keys: bool = True) -> ScenarioResult:
    """Run the drill. Without keys it must find duplicates."""
    between = PostgresProxy(
        seed=f"{stage.seed}/postgres",
        server=stage.database,
        drop_ack_share=CUT_ACKNOWLEDGEMENTS,
        drop_request_share=CUT_STATEMENTS,
    )
    with running(between), target(stage, between.url(stage.driver)) as service:
        before = HttpProxy(seed=f"{stage.seed}/http", server_port=service.port, share=CUT_REQUESTS)
        with running(before):
            job = service.job(retry_seconds=PATIENCE_SECONDS, port=before.port)
            seeds = insert_seed_data(job)
            job = replace(job, operations=_writes(seeds, stage.size.requests, with_keys=with_keys))
            stage.say(f"{len(job.operations):,} requests by {job.clients} clients; connections are cut from now on")
            before.armed = between.armed = True
            attempts = run_load(job, stage.progress)
            before.armed = between.armed = False
            ledger = Reconciliation.of(attempts, rows(stage.database))
            checks = [
                _faults("the service", before, FAULTS, len(job.operations)),
                _faults("PostgreSQL", between, (ACK_DROPPED, REQUEST_DROPPED), len(job.operations)),
                acknowledged(ledger, retries=len(attempts) - len(ledger.last)),
                *stored(ledger, known=seeds.names),
                _replays(job, ledger),
                _still(ledger, Reconciliation.of(attempts, rows(stage.database))),
            ]
    return ScenarioResult(checks, attempts, [window_of_load(attempts, "connections are cut")])


def _writes(seeds: SeedData, count: int, *, with_keys: bool) -> list[RequestSpec]:
    """Return as many new users as new posts, or only the posts without keys."""
    authors = list(seeds.authors.values())
    users = [user(f"drill-{number}@example.org") for number in range(count // 2)]
    posts = [post(f"drill {number}", authors[number % AUTHORS]) for number in range(count // 2)]
    if not with_keys:  # a user cannot be stored twice, because the address is unique
        return [replace(operation, headers={}) for operation in posts]
    return [operation for pair in zip(users, posts, strict=True) for operation in pair]


def _faults(where: str, proxy: Proxy, meant: Sequence[str], requests: int) -> Verification:
    """Check that connections were cut, and by each kind of fault if the requests were enough."""
    cuts = sum(proxy.cuts.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(proxy.cuts.items()))
    is_such = all(proxy.cuts[kind] for kind in meant) if requests >= ENOUGH else bool(cuts)
    return verify(
        f"connections to {where} are cut", f"{cuts / requests:.1%} of requests: {kinds}", is_such, is_key=True
    )


def _replays(job: LoadJob, ledger: Reconciliation) -> Verification:
    """Send acknowledged requests again, and compare the responses."""
    done = [operation for operation in job.operations if operation.name in ledger.acknowledged]
    sample = random.Random(job.seed).sample(done, min(REPEATED, len(done)))  # noqa: S311 - the same for the same seed
    repeated = run_load(replace(job, operations=sample))
    differences = [(again.operation, _difference(ledger.acknowledged[again.operation], again)) for again in repeated]
    reasons = [f"{name}: {difference}" for name, difference in differences if difference]
    figure = f"{len(sample) - len(reasons):,} of {len(sample):,} identical"
    return verify("a repeated request gets the same response", figure, reasons if sample else ["no request to repeat"])


def _difference(first: Attempt, again: Attempt) -> str:
    """Return what differs in the response to a repeated request, or an empty string."""
    if again.headers.get(REPLAYED) != "true":
        return f"status {again.status} is no replay"
    if first.status != again.status:
        return f"status {again.status} after {first.status}"
    changed = [name for name in _SAME if first.headers.get(name) != again.headers.get(name)]
    return f"another {changed[0]}" if changed else "another body" * (first.body != again.body)


def _still(before: Reconciliation, after: Reconciliation) -> Verification:
    added = [name for name in after.stored if after.stored[name] != before.stored.get(name)]
    return verify("a repeated request stores no row", f"{len(added)} rows more", added)


EXACTLY_ONCE = Scenario(
    name="exactly-once",
    claim="A write that is retried with its Idempotency-Key is executed exactly once, although connections are cut.",
    run=run,
    full=ScenarioSize(requests=10_000),
    quick=ScenarioSize(requests=400, patient=True),
    # Both drivers: each reports a connection that is lost during COMMIT in its own way.
    drivers=DRIVERS,
)
