"""What the drill `migrations` concludes from what it has found."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import URL

from tests.drills.drill import Check, Size, expect
from tests.drills.ledger import Ledger, described, rows
from tests.drills.load.errands import CHANGE, kind
from tests.drills.load.exchange import ACKNOWLEDGED
from tests.drills.load.jobs import Attempt
from tests.drills.load.mixture import Seeds, only_writes
from tests.drills.migrating.changing import Move
from tests.drills.migrating.filled import NAMES, Filled, left
from tests.drills.verdicts import latency, right, stored
from tests.support.databases import connected

BOUND = 300.0
"""The milliseconds below which the longest request has to stay."""
LONG = 1.0
"""Seconds in which a request comes for sure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The revisions that a database says it has, and its schema as lines."""

    revisions: Sequence[str]
    schema: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What was there, what was asked for and answered, and what has moved meanwhile."""

    release: str
    filled: Filled
    seeds: Seeds
    warm: Sequence[Attempt]
    """What was asked for before the load, so that every statement is prepared on every connection."""
    pause: float
    """Seconds without a revision before and after each."""
    connections: int
    outdated: int
    """How many prepared statements the server has refused because what they return was another by then."""
    attempts: Sequence[Attempt]
    moves: Sequence[Move]
    before: State
    after: State


def checks(found: Found, database: URL, size: Size) -> list[Check]:
    """Return all claims."""
    bound = BOUND * size.slack
    return [
        _served(found),
        _warm(found),
        _all_answered(found.attempts),
        _longest(found, bound),
        *(_each(found, revision, bound) for revision in dict.fromkeys(move.revision for move in found.moves)),
        _finished(found.moves),
        _as_before(found),
        right(found.attempts),
        *_kept(found, database),
    ]


def _served(found: Found) -> Check:
    ups = [move for move in found.moves if move.up]
    figure = f"{found.release}, at schema {', '.join(found.before.revisions)}, {found.filled.posts:,} posts"
    claim = f"the release before serves while {len(ups)} revisions go up and down"
    return expect(claim, figure, bool(ups) and 2 * len(ups) == len(found.moves))


def _warm(found: Found) -> Check:
    """Return that each kind of request was answered before as often as there are connections, or more."""
    kinds = Counter(kind(one.operation) for one in found.warm)
    figure = f"{len(found.warm):,} requests of {len(kinds)} kinds over {found.connections} connections"
    outdated = f"{found.outdated} refused since, because what they return is another"
    unwell = [described(one) for one in found.warm if one.outcome != ACKNOWLEDGED]
    kinds_since = {kind(one.operation) for one in found.attempts}
    unwell += [f"{name}: {kinds[name]} times" for name in kinds_since if kinds[name] < found.connections]
    return expect("statements are prepared before the first revision", f"{figure}; {outdated}", unwell)


def _all_answered(attempts: Sequence[Attempt]) -> Check:
    failed = [described(one) for one in attempts if one.outcome != ACKNOWLEDGED]
    figure = f"{len(failed)} of {len(attempts):,} fail, p99 {latency(attempts, 99.0):.0f} ms"
    return expect("no request fails", figure, failed)


def _longest(found: Found, bound: float) -> Check:
    worst = max(found.attempts, key=_milliseconds)
    met = [str(move) for move in found.moves if _meet(worst, move)]
    calm = [one for one in found.attempts if not any(_meet(one, move) for move in found.moves)]
    figure = (
        f"{_milliseconds(worst):,.0f} ms: {worst.operation}, during {' and '.join(met) or 'no revision'}; "
        f"{sum(_milliseconds(one) >= bound for one in found.attempts):,} of {len(found.attempts):,} take longer; "
        f"{max(map(_milliseconds, calm), default=0.0):,.0f} ms while no revision moved"
    )
    usual = "" if bound == BOUND else f" ({BOUND:g} ms in the full form)"
    return expect(f"the longest request takes less than {bound:,.0f} ms{usual}", figure, _milliseconds(worst) < bound)


def _each(found: Found, revision: str, bound: float) -> Check:
    figures, slow = [], []
    moves = [move for move in found.moves if move.revision == revision]
    for move in moves:
        longest = max((_milliseconds(one) for one in found.attempts if _meet(one, move)), default=0.0)
        words = f"{'up' if move.up else 'down'} {move.end - move.start:.1f} s, longest request {longest:,.0f} ms"
        figures.append(words)
        slow += [words] if longest >= bound else []
        slow += [] if _is_met(found, move) else [f"no request meets it {'up' if move.up else 'down'}"]
    return expect(f"{moves[0].doc} ({revision}): nobody notices", "; ".join(figures), slow)


def _finished(moves: Sequence[Move]) -> Check:
    unfinished = [f"{words} after {move}" for move in moves for words in move.unfinished]
    return expect("no index is invalid, nothing is half done", f"{len(unfinished)} found after a revision", unfinished)


def _as_before(found: Found) -> Check:
    there, gone = set(found.after.schema), set(found.before.schema)
    differences = [f"new: {line}" for line in there - gone] + [f"gone: {line}" for line in gone - there]
    if found.after.revisions != found.before.revisions:
        differences.append(f"alembic is at {found.after.revisions} and was at {found.before.revisions}")
    figure = f"{len(differences)} differences in {len(gone)} lines, at {', '.join(found.after.revisions)}"
    return expect("the schema is as before in the end", figure, differences)


def _kept(found: Found, database: URL) -> Iterator[Check]:
    attempts = [*found.warm, *found.attempts]
    changes = [one for one in attempts if one.operation.startswith(CHANGE)]
    others = [one for one in attempts if not one.operation.startswith(CHANGE)]
    yield from stored(Ledger.of(only_writes(others), rows(database, but_for=NAMES)), known=found.seeds.names)
    with connected(database) as connection:
        posts, changed = left(connection)
    made = sum(one.outcome == ACKNOWLEDGED for one in changes)
    yield expect("every post of before is there", f"{posts:,} of {found.filled.posts:,}", posts == found.filled.posts)
    yield expect("every change of them is stored once", f"{changed:,} stored, {made:,} acknowledged", changed == made)


def _milliseconds(one: Attempt) -> float:
    return 1000 * (one.done - one.due)


def _is_met(found: Found, move: Move) -> bool:
    """Tell whether a request met the revision, or one that takes next to no time and the pauses around it."""
    around = replace(move, start=move.start - found.pause, end=move.end + found.pause)
    return any(_meet(one, move if move.end - move.start >= LONG else around) for one in found.attempts)


def _meet(one: Attempt, move: Move) -> bool:
    return one.due < move.end and move.start < one.done
