"""The drill `erasure`: after the deletion of users under load, no trace of their data remains."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from adapters.testing.template_databases import Connection, connected
from tests.drills.canary_search import Canary, PageTraces, data_directory, files_with, pages_with, tables_with
from tests.drills.canary_users import (
    REQUEST_ID,
    CanaryUser,
    create_users,
    invalid_requests,
    race_requests,
    requests_after,
    send,
)
from tests.drills.faults.disposable_postgres import DisposablePostgres, disposable_postgres
from tests.drills.load.http_connection import MISMATCHED
from tests.drills.load.load_job import Attempt, RequestSpec
from tests.drills.load.load_runner import ENDLESS, running_load
from tests.drills.load.workload import SeedData, insert_seed_data, reading
from tests.drills.reconciliation import describe
from tests.drills.scenario import Scenario, ScenarioContext, ScenarioResult, ScenarioSize, Verification, verify
from tests.drills.service_under_test import target
from tests.drills.verifications import FaultTimeline, standard_checks

RATE = 40.0
SEARCHES = 10
TERSE_LOG = "ALTER DATABASE hexapost SET log_error_verbosity = 'terse'"
NO_AUTOVACUUM = "ALTER SYSTEM SET autovacuum = off"
"""An ANALYZE of autovacuum delays the removal of deleted rows by VACUUM."""
MAINTENANCE = ("VACUUM (ANALYZE)", "REINDEX TABLE CONCURRENTLY users", "REINDEX TABLE CONCURRENTLY posts")
"""With TERSE_LOG, the duties of the operator (docs/data-rights.md)."""
CANARY_TABLES = {"users", "posts", "api_keys"}
CANARY_INDEXES = {"uq_users_email_normalized", "ix_posts_title_tokens"}
_RESPONSES = """
    SELECT substring(response FOR 32) FROM idempotency_records WHERE subject_id = ANY (%s::uuid[]) AND response <> ''
"""

Responses = Mapping[str, Attempt]


@dataclass(frozen=True, slots=True)
class Traces:
    """The rows with the canary by table, the pages with it, and the stored responses about the users."""

    tables: Mapping[str, int]
    pages: PageTraces
    responses: Sequence[bytes]


def run(stage: ScenarioContext) -> ScenarioResult:
    """Erase `size.times` users with canaries while requests write about them, and search for the canaries."""
    word = "canary" + hashlib.sha256(stage.seed.encode()).hexdigest()[:12]
    faults = FaultTimeline()
    with disposable_postgres(stage.directory) as postgres:
        with connected(postgres.url()) as connection:
            for setting in (TERSE_LOG, NO_AUTOVACUUM, "SELECT pg_reload_conf()"):
                connection.execute(setting.encode())
        with target(stage, postgres.url(stage.driver), HEXAPOST_LOG_LEVEL="debug") as service:
            seeds = insert_seed_data(service.job())
            users = create_users(service, word, stage.size.times)
            canary, before = _search_before(postgres, word, users)
            with running_load(service.job(_mixture(seeds, word), rate=RATE, seconds=ENDLESS)) as load:
                invalid = send(service, invalid_requests(word, users[0], next(iter(seeds.authors.values()))))
                with faults.during("users are erased"):
                    raced = send(service, race_requests(word, users, stage.seed))
                expected = list(requests_after(word, users))
                after = send(service, [request for request, _ in expected])
                metrics = service.served.get("/metrics", key=service.key).read().decode()
                attempts = load.finish()
        texts = {"service log": service.served.output, "metrics": metrics, "PostgreSQL log": postgres.log.read_text()}
        checks = [
            _stored(before),
            _rejected(invalid, word),
            _erased(raced, len(users)),
            _answered(after, expected, word),
            *_search_after(postgres, canary, users),
            _texts_clean(texts, word),
            *standard_checks(attempts, postgres.url(), seeds),
        ]
    return ScenarioResult(checks, attempts, faults.windows)


def _mixture(seeds: SeedData, word: str) -> list[RequestSpec]:
    return [*seeds.weighted_mix(), *[reading(f"/api/v1/posts?q={word}", expects='"items"')] * SEARCHES]


def _search_before(postgres: DisposablePostgres, word: str, users: Sequence[CanaryUser]) -> tuple[Canary, Traces]:
    """Search after ANALYZE, which copies values of rows into the statistics of the planner."""
    with connected(postgres.url()) as connection:
        connection.execute("ANALYZE")
        responses = _responses(connection, users)
        canary = Canary([word, REQUEST_ID], responses)
        return canary, Traces(tables_with(connection, canary), pages_with(connection, canary), responses)


def _responses(connection: Connection, users: Sequence[CanaryUser]) -> list[bytes]:
    """Return the first bytes of the stored responses about these users. They are encrypted, so they lack the canary."""
    rows = connection.execute(_RESPONSES, [[user.id for user in users]]).fetchall()
    return [response for (response,) in rows if isinstance(response, bytes)]


def _search_after(postgres: DisposablePostgres, canary: Canary, users: Sequence[CanaryUser]) -> list[Verification]:
    """Search the tables, then the pages after the maintenance, and all files after VACUUM FULL."""
    with connected(postgres.url()) as connection:
        tables, responses = tables_with(connection, canary), _responses(connection, users)
        for step in MAINTENANCE:
            connection.execute(step.encode())
        pages = pages_with(connection, canary)
        connection.execute("VACUUM FULL")
        connection.execute("CHECKPOINT")
        files = files_with(data_directory(connection), canary)
    return [
        _tables_clean(tables),
        _responses_erased(canary.sealed, responses),
        _pages_clean(pages),
        _files_clean(files),
    ]


def _stored(before: Traces) -> Verification:
    """Check that the search finds the canary where it must be. Otherwise, finding no trace proves little."""
    missing = sorted(CANARY_TABLES - before.tables.keys()) + sorted(CANARY_INDEXES - before.pages.relations)
    reasons = [f"{name} does not contain the canary" for name in missing]
    if not before.responses:
        reasons.append("no response is stored")
    rows, files = sum(before.tables.values()), len(before.pages.relations)
    figure = f"{rows} rows, {len(before.responses)} responses, {files} files"
    return verify("canaries are stored before the erasure", figure, reasons)


def _rejected(invalid: Responses, word: str) -> Verification:
    reasons = [describe(one) for one in invalid.values() if not 400 <= one.status < 500]
    reasons += [f"the response to {one.kind} contains the canary" for one in invalid.values() if word in one.body]
    figure = f"{len(invalid)} requests, statuses {sorted({one.status for one in invalid.values()})}"
    return verify("errors do not repeat the canary", figure, reasons if invalid else ["no request"])


def _erased(raced: Responses, users: int) -> Verification:
    """Check that each deletion succeeds, and that writes about the same users overlap with them."""
    deletions = [one for one in raced.values() if one.kind.startswith("DELETE")]
    writes = [one for one in raced.values() if not one.kind.startswith("DELETE")]
    reasons = [describe(one) for one in deletions if one.status != 204]
    reasons += [describe(one) for one in writes if not 200 <= one.status < 500]
    if len(deletions) != users:
        reasons.append(f"{len(deletions)} deletions of {users} users")
    met = sum(any(one.sent < each.done and each.sent < one.done for each in deletions) for one in writes)
    stored = sum(one.status < 300 for one in writes)
    if not met:
        reasons.append("no write overlaps with a deletion")
    figure = f"{len(deletions)} users, {met} of {len(writes)} writes during deletions, {stored} of them stored"
    return verify("users are erased while requests write about them", figure, reasons, is_key=True)


def _answered(after: Responses, expected: Sequence[tuple[RequestSpec, int]], word: str) -> Verification:
    pairs = [(after[request.name], status) for request, status in expected]
    reasons = [describe(response) for response, status in pairs if not _is_clean(response, status, word)]
    figure = f"{len(expected) - len(reasons)} of {len(expected)} responses"
    claim = "later requests find no data of the users"
    return verify(claim, figure, reasons if expected else ["no request"], is_key=True)


def _is_clean(response: Attempt, status: int, word: str) -> bool:
    return response.status == status and response.outcome != MISMATCHED and word not in response.body


def _tables_clean(tables: Mapping[str, int]) -> Verification:
    reasons = [f"{count} rows of {name}" for name, count in tables.items()]
    return verify("no table contains the canary", f"{sum(tables.values())} rows", reasons, is_key=True)


def _responses_erased(before: Collection[bytes], after: Collection[bytes]) -> Verification:
    return verify("no response about the users is stored", f"{len(after)} of {len(before)}", not after, is_key=True)


def _pages_clean(pages: PageTraces) -> Verification:
    figure = f"{len(pages.relations)} tables and indexes; unused space of {pages.unused} pages"
    return verify("VACUUM and REINDEX remove the canary from entries", figure, sorted(pages.relations), is_key=True)


def _files_clean(files: Sequence[str]) -> Verification:
    return verify(
        "VACUUM FULL removes the canary from all files but the WAL", f"{len(files)} files", files, is_key=True
    )


def _texts_clean(texts: Mapping[str, str], word: str) -> Verification:
    reasons = [f"the {name} contains the canary" for name, text in texts.items() if word in text.lower()]
    reasons += [f"the {name} is empty" for name, text in texts.items() if not text]
    figure = ", ".join(f"{len(text.splitlines()):,} lines of the {name}" for name, text in texts.items())
    return verify("logs and metrics do not contain the canary", figure, reasons, is_key=True)


ERASURE = Scenario(
    name="erasure",
    claim="After users are erased under load, no table, stored response, log or metric has their data.",
    run=run,
    full=ScenarioSize(times=100),
    quick=ScenarioSize(times=5, patient=True),
    # One driver: the deletion consists of the same statements, and PostgreSQL stores the rows.
)
