"""The drill `exactly-once`: whatever is lost on the way, what a client asks for once is done once."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

from tests.cli.support import a_key, rendered
from tests.drills.drill import Check, Drill, DrillError, Outcome, Size, Stage, expect
from tests.drills.exchange import ACKNOWLEDGED
from tests.drills.http_proxy import HttpProxy
from tests.drills.ledger import Ledger, rows
from tests.drills.load import Attempt, Job, Operation
from tests.drills.loading import loaded, samples, whole
from tests.drills.postgres_proxy import PostgresProxy
from tests.drills.proxy import HOST, Proxy, running
from tests.drills.service import port, started

CLIENTS = 20
AUTHORS = 10
PATIENCE_SECONDS = 60.0
LONGEST_SECONDS = 900.0
CUT_REQUESTS = 0.10
CUT_ACKNOWLEDGEMENTS = 0.04
CUT_STATEMENTS = 0.015
REPEATED = 200
"""How many acknowledged requests are sent again."""
KEY = "Idempotency-Key"
REPLAYED = "idempotency-replayed"
_SAME = ("location", "etag", "content-type")


def user(name: str) -> Operation:
    """Return the request that registers an address."""
    return _operation(name, "/api/v1/users", {"email": name, "full_name": f"Drilled {name}"})


def post(name: str, author_id: str) -> Operation:
    """Return the request that stores a post with that title."""
    return _operation(name, "/api/v1/posts", {"author_id": author_id, "title": name, "content": "Stored once."})


def _operation(name: str, path: str, body: Mapping[str, str]) -> Operation:
    key = name.replace(" ", "-")
    return Operation(name=name, method="POST", path=path, body=json.dumps(body), headers={KEY: key})


def run(stage: Stage, *, with_keys: bool = True) -> Outcome:
    """Carry the drill out; without keys it has to find duplicates."""
    between = PostgresProxy(
        seed=f"{stage.seed}/postgres",
        server=stage.database,
        unacknowledged=CUT_ACKNOWLEDGEMENTS,
        unasked=CUT_STATEMENTS,
    )
    api_key = a_key(stage.directory, DATABASE_URL=rendered(stage.database))
    with running(between), started(stage.directory, between.url(stage.driver), HEXAPOST_RATE_LIMIT="none") as served:
        before = HttpProxy(seed=f"{stage.seed}/http", server_port=port(served), share=CUT_REQUESTS)
        with running(before):
            job = Job(
                host=HOST,
                port=before.port,
                clients=CLIENTS,
                operations=[],
                patience=PATIENCE_SECONDS,
                headers={"Authorization": f"Bearer {api_key}"},
                seed=stage.seed,
            )
            return _carried_out(stage, job, before, between, with_keys=with_keys)


def _carried_out(stage: Stage, job: Job, before: HttpProxy, between: PostgresProxy, *, with_keys: bool) -> Outcome:
    authors = _authors(job)
    count = stage.size.requests // 2
    users = [user(f"drill-{number}@example.org") for number in range(count)]
    posts = [post(f"drill {number}", list(authors.values())[number % AUTHORS]) for number in range(count)]
    mixed = [operation for pair in zip(users, posts, strict=True) for operation in pair]
    job = replace(job, operations=mixed if with_keys else [replace(operation, headers={}) for operation in mixed])
    stage.say(f"{len(job.operations):,} requests by {CLIENTS} clients; connections are cut from now on")
    before.armed = between.armed = True
    attempts = loaded(job, seconds=LONGEST_SECONDS, progress=stage.progress)
    before.armed = between.armed = False
    ledger = Ledger.of(attempts, rows(stage.database))
    return Outcome(
        checks=[
            _faults("the service", before, len(job.operations)),
            _faults("PostgreSQL", between, len(job.operations)),
            *_stored(ledger, known=list(authors), retries=len(attempts) - len(ledger.last)),
            _replays(job, ledger),
            _still(ledger, Ledger.of(attempts, rows(stage.database))),
        ],
        samples=samples(attempts),
        marks=[whole(attempts, "connections are cut")],
    )


def _authors(job: Job) -> Mapping[str, str]:
    """Register authors, while no fault is injected, and return their ids by their addresses."""
    names = [f"author-{number}@example.org" for number in range(AUTHORS)]
    job = replace(job, operations=[user(name) for name in names], patience=0.0)
    answers = loaded(job, seconds=LONGEST_SECONDS)
    if wrong := [answer for answer in answers if answer.outcome != ACKNOWLEDGED]:
        raise DrillError(f"without a fault, a user is not registered: {wrong[0].status} {wrong[0].body}")
    return {answer.operation: str(json.loads(answer.body)["id"]) for answer in answers}


def _faults(where: str, proxy: Proxy, requests: int) -> Check:
    cuts = sum(proxy.cuts.values())
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in sorted(proxy.cuts.items()))
    return expect(f"connections to {where} are cut", f"{cuts / requests:.1%} of requests: {kinds}", bool(cuts))


def _stored(ledger: Ledger, *, known: Sequence[str], retries: int) -> Sequence[Check]:
    lost, duplicates, misnamed, strangers = (
        ledger.lost(),
        ledger.duplicates(),
        ledger.misnamed(),
        ledger.strangers(known),
    )
    acknowledged = f"{len(ledger.acknowledged):,} of {len(ledger.last):,}, with {retries:,} retries"
    return [
        expect("every request is acknowledged in the end", acknowledged, ledger.unacknowledged()),
        expect("nothing acknowledged is lost", f"{len(lost)} lost", lost),
        expect("nothing is stored twice", f"{len(duplicates)} duplicates", duplicates),
        expect("every answer names the row that is stored", f"{len(misnamed)} others", misnamed),
        expect("nothing else is stored", f"{len(strangers)} other rows", strangers),
    ]


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
    quick=Size(requests=400),
)
