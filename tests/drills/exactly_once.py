"""The drill `exactly-once`: whatever is lost on the way, what a client asks for once is done once."""

import random
from collections.abc import Sequence
from dataclasses import replace

from tests.drills.drill import Check, Drill, Outcome, Size, Stage, expect
from tests.drills.faults.http_proxy import FAULTS, HttpProxy
from tests.drills.faults.postgres_proxy import UNACKNOWLEDGED, UNASKED, PostgresProxy
from tests.drills.faults.proxy import Proxy, running
from tests.drills.ledger import Ledger, rows
from tests.drills.load.jobs import Attempt, Job
from tests.drills.load.loading import loaded, whole
from tests.drills.load.mixture import AUTHORS, post, seeded, user
from tests.drills.service import target
from tests.drills.verdicts import acknowledged, outcome, stored

CLIENTS = 20
PATIENCE_SECONDS = 60.0
LONGEST_SECONDS = 900.0
CUT_REQUESTS = 0.10
CUT_ACKNOWLEDGEMENTS = 0.04
CUT_STATEMENTS = 0.015
ENOUGH = 2_000
"""Requests among which connections are cut in every way, so often are they."""
REPEATED = 200
"""How many acknowledged requests are sent again."""
REPLAYED = "idempotency-replayed"
_SAME = ("location", "etag", "content-type")


def run(stage: Stage, *, with_keys: bool = True) -> Outcome:
    """Carry the drill out; without keys it has to find duplicates."""
    between = PostgresProxy(
        seed=f"{stage.seed}/postgres",
        server=stage.database,
        unacknowledged=CUT_ACKNOWLEDGEMENTS,
        unasked=CUT_STATEMENTS,
    )
    with running(between), target(stage, between.url(stage.driver)) as service:
        before = HttpProxy(seed=f"{stage.seed}/http", server_port=service.port, share=CUT_REQUESTS)
        with running(before):
            job = replace(service.job([], clients=CLIENTS, patience=PATIENCE_SECONDS), port=before.port)
            return _carried_out(stage, job, before, between, with_keys=with_keys)


def _carried_out(stage: Stage, job: Job, before: HttpProxy, between: PostgresProxy, *, with_keys: bool) -> Outcome:
    seeds = seeded(job)
    authors = list(seeds.authors.values())
    count = stage.size.requests // 2
    users = [user(f"drill-{number}@example.org") for number in range(count)]
    posts = [post(f"drill {number}", authors[number % AUTHORS]) for number in range(count)]
    mixed = [operation for pair in zip(users, posts, strict=True) for operation in pair]
    job = replace(job, operations=mixed if with_keys else [replace(operation, headers={}) for operation in mixed])
    stage.say(f"{len(job.operations):,} requests by {CLIENTS} clients; connections are cut from now on")
    before.armed = between.armed = True
    attempts = loaded(job, seconds=LONGEST_SECONDS, progress=stage.progress)
    before.armed = between.armed = False
    ledger = Ledger.of(attempts, rows(stage.database))
    checks = [
        _faults("the service", before, FAULTS, len(job.operations)),
        _faults("PostgreSQL", between, (UNACKNOWLEDGED, UNASKED), len(job.operations)),
        acknowledged(ledger, retries=len(attempts) - len(ledger.last)),
        *stored(ledger, known=seeds.names),
        _replays(job, ledger),
        _still(ledger, Ledger.of(attempts, rows(stage.database))),
    ]
    return outcome(checks, attempts, [whole(attempts, "connections are cut")])


def _faults(where: str, proxy: Proxy, meant: Sequence[str], requests: int) -> Check:
    """Return that connections were cut, and in each of the ways that are meant where there were enough of them."""
    cuts = sum(proxy.cuts.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(proxy.cuts.items()))
    is_such = all(proxy.cuts[kind] for kind in meant) if requests >= ENOUGH else bool(cuts)
    return expect(f"connections to {where} are cut", f"{cuts / requests:.1%} of requests: {kinds}", is_such)


def _replays(job: Job, ledger: Ledger) -> Check:
    """Send acknowledged requests again, and compare the answers."""
    done = [operation for operation in job.operations if operation.name in ledger.acknowledged]
    sample = random.Random(job.seed).sample(done, min(REPEATED, len(done)))  # noqa: S311 - the same for the same seed
    repeated = loaded(replace(job, operations=sample), seconds=LONGEST_SECONDS)
    differences = [(again.operation, _difference(ledger.acknowledged[again.operation], again)) for again in repeated]
    reasons = [f"{name}: {difference}" for name, difference in differences if difference]
    figure = f"{len(sample) - len(reasons):,} of {len(sample):,} identical"
    return expect("a repeated request has the same answer", figure, reasons if sample else ["there is none to repeat"])


def _difference(first: Attempt, again: Attempt) -> str:
    """Return what is wrong with the answer to a repeated request."""
    if again.headers.get(REPLAYED) != "true":
        return f"status {again.status} is no replay"
    if first.status != again.status:
        return f"status {again.status} after {first.status}"
    changed = [name for name in _SAME if first.headers.get(name) != again.headers.get(name)]
    return f"another {changed[0]}" if changed else "another body" * (first.body != again.body)


def _still(before: Ledger, after: Ledger) -> Check:
    added = [name for name in after.stored if after.stored[name] != before.stored.get(name)]
    return expect("a repeated request stores nothing", f"{len(added)} rows more", added)


EXACTLY_ONCE = Drill(
    name="exactly-once",
    claim="A write that is retried with its Idempotency-Key happens exactly once, whichever connection is cut when.",
    run=run,
    full=Size(requests=10_000),
    quick=Size(requests=400, patient=True),
)
