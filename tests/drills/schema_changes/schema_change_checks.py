"""Checks of the drill `migrations`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import URL

from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import Attempt
from tests.drills.load.mixed_requests import CHANGE, request_kind
from tests.drills.load.workload import SeedData, only_writes
from tests.drills.reconciliation import Reconciliation, describe, rows
from tests.drills.scenario import ScenarioSize, Verification, verify
from tests.drills.schema_changes.bulk_data import NAMES, BulkData, count_rows
from tests.drills.schema_changes.revision_cycle import RevisionRun
from tests.drills.verifications import all_acknowledged, responses_match_requests, stored
from tests.support.template_databases import connected

BOUND = 0.3
"""Upper bound of the longest latency in seconds."""
LONG = 1.0
"""Seconds of a revision that at least one request must meet; a shorter one includes the pauses around it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaSnapshot:
    revisions: Sequence[str]
    schema: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """Observations of the drill.

    `warm` are the attempts before the load, which prepare every statement on every connection. `pause` is the time
    between revisions. `outdated` counts prepared statements that the server rejected because their result changed.
    """

    release: str
    filled: BulkData
    seeds: SeedData
    warm: Sequence[Attempt]
    pause: float
    connections: int
    outdated: int
    attempts: Sequence[Attempt]
    moves: Sequence[RevisionRun]
    before: SchemaSnapshot
    after: SchemaSnapshot


def checks(found: Observations, database: URL, size: ScenarioSize) -> list[Verification]:
    bound = 1000 * size.bound(BOUND)
    return [
        _served(found),
        _warm(found),
        all_acknowledged(found.attempts),
        _longest(found, bound),
        *(
            _latency_per_revision(found, revision, bound)
            for revision in dict.fromkeys(move.revision for move in found.moves)
        ),
        _finished(found.moves),
        _schema_restored(found),
        responses_match_requests(found.attempts),
        *_rows_unchanged(found, database),
    ]


def _served(found: Observations) -> Verification:
    ups = [move for move in found.moves if move.up]
    figure = f"{found.release}, at schema {', '.join(found.before.revisions)}, {found.filled.posts:,} posts"
    claim = f"the previous release serves while {len(ups)} revisions go up and down"
    return verify(claim, figure, bool(ups) and 2 * len(ups) == len(found.moves))


def _warm(found: Observations) -> Verification:
    """Check that each kind of request was acknowledged at least once per connection before the first revision."""
    kinds = Counter(request_kind(one.operation) for one in found.warm)
    figure = f"{len(found.warm):,} requests of {len(kinds)} kinds over {found.connections} connections"
    outdated = f"{found.outdated} rejected since, because their result changed"
    unwell = [describe(one) for one in found.warm if one.outcome != ACKNOWLEDGED]
    kinds_since = {request_kind(one.operation) for one in found.attempts}
    unwell += [f"{name}: {kinds[name]} times" for name in kinds_since if kinds[name] < found.connections]
    return verify("statements are prepared before the first revision", f"{figure}; {outdated}", unwell)


def _longest(found: Observations, bound: float) -> Verification:
    worst = max(found.attempts, key=_milliseconds)
    met = [str(move) for move in found.moves if _meet(worst, move)]
    calm = [one for one in found.attempts if not any(_meet(one, move) for move in found.moves)]
    figure = (
        f"{_milliseconds(worst):,.0f} ms: {worst.operation}, during {' and '.join(met) or 'no revision'}; "
        f"{sum(_milliseconds(one) >= bound for one in found.attempts):,} of {len(found.attempts):,} take longer; "
        f"{max(map(_milliseconds, calm), default=0.0):,.0f} ms without a revision"
    )
    return verify(f"the longest request takes less than {bound:,.0f} ms", figure, _milliseconds(worst) < bound)


def _latency_per_revision(found: Observations, revision: str, bound: float) -> Verification:
    """Check that requests ran during both directions of the revision, within the bound."""
    figures, slow = [], []
    moves = [move for move in found.moves if move.revision == revision]
    for move in moves:
        longest = max((_milliseconds(one) for one in found.attempts if _meet(one, move)), default=0.0)
        words = f"{move.direction} {move.end - move.start:.1f} s, longest request {longest:,.0f} ms"
        figures.append(words)
        slow += [words] if longest >= bound else []
        slow += [] if _is_met(found, move) else [f"no request during {move.direction}"]
    return verify(f"{moves[0].doc} ({revision}) delays no request", "; ".join(figures), slow)


def _finished(moves: Sequence[RevisionRun]) -> Verification:
    unfinished = [f"{words} after {move}" for move in moves for words in move.unfinished]
    return verify("no revision leaves unfinished work", f"{len(unfinished)} found", unfinished)


def _schema_restored(found: Observations) -> Verification:
    after, before = set(found.after.schema), set(found.before.schema)
    differences = [f"new: {line}" for line in after - before] + [f"missing: {line}" for line in before - after]
    if found.after.revisions != found.before.revisions:
        differences.append(f"revisions {found.after.revisions} instead of {found.before.revisions}")
    figure = f"{len(differences)} differences in {len(before)} lines, at {', '.join(found.after.revisions)}"
    return verify("the schema is the same afterwards", figure, differences)


def _rows_unchanged(found: Observations, database: URL) -> Iterator[Verification]:
    attempts = [*found.warm, *found.attempts]
    changes = [one for one in attempts if one.operation.startswith(CHANGE)]
    others = [one for one in attempts if not one.operation.startswith(CHANGE)]
    yield from stored(Reconciliation.of(only_writes(others), rows(database, but_for=NAMES)), known=found.seeds.names)
    with connected(database) as connection:
        posts, changed = count_rows(connection)
    made = sum(one.outcome == ACKNOWLEDGED for one in changes)
    yield verify("no earlier post is lost", f"{posts:,} of {found.filled.posts:,}", posts == found.filled.posts)
    yield verify("each update is stored once", f"{changed:,} stored, {made:,} acknowledged", changed == made)


def _milliseconds(one: Attempt) -> float:
    return 1000 * (one.done - one.due)


def _is_met(found: Observations, move: RevisionRun) -> bool:
    around = replace(move, start=move.start - found.pause, end=move.end + found.pause)
    return any(_meet(one, move if move.end - move.start >= LONG else around) for one in found.attempts)


def _meet(one: Attempt, move: RevisionRun) -> bool:
    return one.due < move.end and move.start < one.done
