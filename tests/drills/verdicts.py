"""Checks that several drills share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic

from sqlalchemy import URL

from tests.drills.drill import Check, Mark, Outcome, expect
from tests.drills.ledger import Ledger, described, rows
from tests.drills.load.exchange import ACKNOWLEDGED, CANCELLED, MISTAKEN, REFUSED, UNSENT
from tests.drills.load.jobs import Attempt
from tests.drills.load.mixture import Seeds, only_writes
from tests.support.scales import percentile

NOTHING = "no request is acknowledged"


def outcome(checks: Sequence[Check], attempts: Sequence[Attempt], marks: Sequence[Mark]) -> Outcome:
    start = beginning(attempts)
    last = [one for one in attempts if one.is_last]
    return Outcome(
        checks=checks,
        samples=[(one.due - start, one.done - one.due) for one in last if one.outcome in {ACKNOWLEDGED, MISTAKEN}],
        marks=marks,
        refusals=[one.due - start for one in last if one.outcome not in {ACKNOWLEDGED, MISTAKEN, CANCELLED}],
    )


def beginning(attempts: Sequence[Attempt]) -> float:
    return min((attempt.due for attempt in attempts), default=0.0)


def whole(attempts: Sequence[Attempt], label: str) -> Mark:
    return Mark(label=label, start=0.0, end=max(attempt.done for attempt in attempts) - beginning(attempts))


def kept(attempts: Sequence[Attempt], database: URL, seeds: Seeds) -> list[Check]:
    """Compare acknowledged writes with stored rows."""
    return stored(Ledger.of(only_writes(attempts), rows(database)), known=seeds.names)


def stored(ledger: Ledger, *, known: Sequence[str]) -> list[Check]:
    lost, duplicates = ledger.lost(), ledger.duplicates()
    misnamed, strangers = ledger.misnamed(), ledger.strangers(known)
    of_all = f"{len(lost)} of {len(ledger.acknowledged):,} lost"
    return [
        expect("no acknowledged write is lost", of_all, lost if ledger.acknowledged else [NOTHING]),
        expect("no write is stored twice", f"{len(duplicates)} duplicates", duplicates),
        expect("each response has the id of the stored row", f"{len(misnamed)} wrong ids", misnamed),
        expect("no other row is stored", f"{len(strangers)} other rows", strangers),
    ]


def acknowledged(ledger: Ledger, *, retries: int) -> Check:
    figure = f"{len(ledger.acknowledged):,} of {len(ledger.last):,}, with {retries:,} retries"
    return expect("every request is acknowledged in the end", figure, ledger.unacknowledged())


def succeeded(attempts: Sequence[Attempt]) -> Check:
    """Check that some requests were acknowledged, and no request failed. A missing response is unknown, not failed."""
    last = [attempt for attempt in attempts if attempt.is_last]
    outcomes = Counter(attempt.outcome for attempt in last)
    failed = [described(attempt) for attempt in last if attempt.outcome in {REFUSED, UNSENT, MISTAKEN}]
    unknown = outcomes.total() - outcomes[ACKNOWLEDGED] - len(failed)
    figure = f"{len(failed):,} failed and {unknown:,} unknown of {len(last):,}"
    return expect("no request fails", figure, failed if outcomes[ACKNOWLEDGED] else [*failed, NOTHING])


def all_acknowledged(attempts: Sequence[Attempt]) -> Check:
    """Check that every request was acknowledged. An aborted connection counts as a failure."""
    failed = [described(one) for one in attempts if one.outcome != ACKNOWLEDGED]
    figure = f"{len(failed)} of {len(attempts):,} fail, p99 {latency(attempts, 99.0):.0f} ms"
    return expect("no request fails or is aborted", figure, failed if attempts else [NOTHING])


def answered(attempts: Sequence[Attempt]) -> Check:
    silent = [described(attempt) for attempt in attempts if attempt.is_last and not attempt.status]
    figure = f"{len(silent):,} of {len(attempts):,} without a response"
    return expect("every request gets a response", figure, silent if attempts else ["no request was sent"])


def right(attempts: Sequence[Attempt]) -> Check:
    mistaken = [described(attempt) for attempt in attempts if attempt.outcome == MISTAKEN]
    answers = sum(attempt.outcome == ACKNOWLEDGED for attempt in attempts)
    return expect("every response belongs to its request", f"{len(mistaken)} of {answers:,} do not", mistaken)


def latency(attempts: Sequence[Attempt], percent: float) -> float:
    """Return a percentile of the latency in milliseconds, from the due time."""
    ordered = sorted((attempt.done - attempt.due) * 1000 for attempt in attempts if attempt.is_last)
    return percentile(ordered, percent) if ordered else float("inf")


def fast(claim: str, attempts: Sequence[Attempt], *, percent: float, milliseconds: float) -> Check:
    """Check that every attempt was acknowledged, and that a percentile of the latency is below the bound."""
    failed = [described(attempt) for attempt in attempts if attempt.outcome != ACKNOWLEDGED]
    found = latency(attempts, percent)
    figure = f"p{percent:g} {found:.1f} ms, slowest {latency(attempts, 100.0):.1f} ms of {len(attempts):,}"
    slow = [f"p{percent:g} is {found:.1f} ms"] if found >= milliseconds else []
    return expect(f"{claim} in under {milliseconds:g} ms", figure, [*failed, *slow])


@dataclass(slots=True)
class Faults:
    """Labels, starts and ends of faults, by the monotonic clock of the system."""

    moments: list[tuple[str, float, float]] = field(default_factory=list)

    @contextmanager
    def during(self, label: str) -> Iterator[None]:
        start = monotonic()
        try:
            yield
        finally:
            self.moments.append((label, start, monotonic()))

    def marks(self, attempts: Sequence[Attempt]) -> list[Mark]:
        begun = beginning(attempts)
        return [Mark(label=label, start=start - begun, end=end - begun) for label, start, end in self.moments]

    def without(self, attempts: Sequence[Attempt], *, longer_than: float) -> list[Attempt]:
        """Return the attempts that met only faults of at most that many seconds."""
        longer = [(start, end) for _, start, end in self.moments if end - start > longer_than]
        return [one for one in attempts if not any(one.due < end and start < one.done for start, end in longer)]

    def unmet(self, attempts: Sequence[Attempt]) -> list[str]:
        """Find faults without a request. A short fault counts as one second long."""
        return [
            f"no request meets {label} after {start - beginning(attempts):.1f} s"
            for label, start, end in self.moments
            if not any(one.due < max(end, start + 1.0) and start < one.done for one in attempts)
        ]

    def beyond(self, one: Attempt) -> float:
        """Return the latency of an attempt without the time of faults."""
        overlaps = (min(one.done, end) - max(one.due, start) for _, start, end in self.moments)
        return one.done - one.due - sum(overlap for overlap in overlaps if overlap > 0)

    @property
    def longest(self) -> float:
        return max((end - start for _, start, end in self.moments), default=0.0)
