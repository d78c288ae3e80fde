"""Checks of the drill `migrations`."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from sqlalchemy import URL

from adapters.testing.template_databases import connected
from tests.drills.load.http_connection import ACKNOWLEDGED
from tests.drills.load.load_job import Attempt
from tests.drills.load.workload import SeedData, only_writes
from tests.drills.reconciliation import Reconciliation, describe, rows
from tests.drills.scenario import ScenarioSize, Verification, verify
from tests.drills.schema_changes.bulk_data import NAMES, BulkData, count_rows
from tests.drills.schema_changes.revision_cycle import RevisionRun
from tests.drills.verifications import all_acknowledged, responses_match_requests, stored

BOUND = 0.3
"""Upper bound of the longest latency in seconds."""
LONG = 1.0
"""Seconds of a revision that at least one request must meet; a shorter one includes the pauses around it."""


def load_checks(attempts: Sequence[Attempt], moves: Sequence[RevisionRun], size: ScenarioSize) -> list[Verification]:
    """Check requests that ran while revisions went up and down, with `size.seconds` between revisions."""
    pause, bound = size.seconds, 1000 * size.bound(BOUND)
    revisions = dict.fromkeys(move.revision for move in moves)
    return [
        all_acknowledged(attempts),
        _longest(attempts, moves, bound),
        *(latency_of(attempts, [move for move in moves if move.revision == one], pause, bound) for one in revisions),
        responses_match_requests(attempts),
    ]


def warm_up_check(
    warm: Sequence[Attempt], attempts: Sequence[Attempt], connections: int, outdated: int
) -> Verification:
    """Check that each kind of request was acknowledged at least once per connection before the first revision.

    `outdated` counts prepared statements that the server rejected because their result changed.
    """
    kinds = Counter(one.kind for one in warm)
    figure = f"{len(warm):,} requests of {len(kinds)} kinds over {connections} connections"
    rejected = f"{outdated} rejected since, because their result changed"
    unwell = [describe(one) for one in warm if one.outcome != ACKNOWLEDGED]
    unwell += [f"{kind}: {kinds[kind]} times" for kind in {one.kind for one in attempts} if kinds[kind] < connections]
    return verify("statements are prepared before the first revision", f"{figure}; {rejected}", unwell)


def _longest(attempts: Sequence[Attempt], moves: Sequence[RevisionRun], bound: float) -> Verification:
    worst = max(attempts, key=_milliseconds)
    met = [str(move) for move in moves if move.window.is_met_by(worst)]
    calm = [one for one in attempts if not any(move.window.is_met_by(one) for move in moves)]
    figure = (
        f"{_milliseconds(worst):,.0f} ms: {worst.kind}, during {' and '.join(met) or 'no revision'}; "
        f"{sum(_milliseconds(one) >= bound for one in attempts):,} of {len(attempts):,} take longer; "
        f"{max(map(_milliseconds, calm), default=0.0):,.0f} ms without a revision"
    )
    return verify(
        f"the longest request takes less than {bound:,.0f} ms", figure, _milliseconds(worst) < bound, is_key=True
    )


def latency_of(attempts: Sequence[Attempt], moves: Sequence[RevisionRun], pause: float, bound: float) -> Verification:
    """Check that requests ran during both directions of one revision, within the bound."""
    figures, slow = [], []
    for move in moves:
        longest = max((_milliseconds(one) for one in attempts if move.window.is_met_by(one)), default=0.0)
        words = f"{move.direction} {move.window.seconds:.1f} s, longest request {longest:,.0f} ms"
        figures.append(words)
        slow += [words] if longest >= bound else []
        around = replace(move.window, start=move.window.start - pause, end=move.window.end + pause)
        window = move.window if move.window.seconds >= LONG else around
        slow += [] if any(map(window.is_met_by, attempts)) else [f"no request during {move.direction}"]
    return verify(f"{moves[0].doc} ({moves[0].revision}) delays no request", "; ".join(figures), slow)


def schema_checks(before: Sequence[str], after: Sequence[str], moves: Sequence[RevisionRun]) -> list[Verification]:
    """Compare the revisions and the schema with those before, and check that no move left unfinished work."""
    unfinished = [f"{words} after {move}" for move in moves for words in move.unfinished]
    differences = [f"new: {line}" for line in set(after) - set(before)]
    differences += [f"missing: {line}" for line in set(before) - set(after)]
    return [
        verify("no revision leaves unfinished work", f"{len(unfinished)} found", unfinished),
        verify("the schema is the same afterwards", f"{len(differences)} of {len(before)} lines differ", differences),
    ]


def rows_unchanged(
    attempts: Sequence[Attempt], filled: BulkData, seeds: SeedData, database: URL
) -> Iterator[Verification]:
    yield from stored(Reconciliation.of(only_writes(attempts), rows(database, but_for=NAMES)), known=seeds.names)
    with connected(database) as connection:
        posts, changed = count_rows(connection)
    made = sum(one.outcome == ACKNOWLEDGED and one.kind.startswith("PATCH") for one in attempts)
    yield verify("no earlier post is lost", f"{posts:,} of {filled.posts:,}", posts == filled.posts)
    yield verify("each update is stored once", f"{changed:,} stored, {made:,} acknowledged", changed == made)


def _milliseconds(one: Attempt) -> float:
    return 1000 * (one.done - one.due)
