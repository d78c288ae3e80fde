"""What drills conclude from attempts: claims that several of them make."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic
from types import TracebackType
from typing import Self

from sqlalchemy import URL

from tests.drills.drill import Check, Mark, Outcome, expect
from tests.drills.ledger import Ledger, described, rows
from tests.drills.load.exchange import ACKNOWLEDGED, MISTAKEN, REFUSED, UNSENT
from tests.drills.load.jobs import Attempt
from tests.drills.load.loading import beginning, refusals, samples
from tests.drills.load.mixture import Seeds, only_writes
from tests.support.scales import percentile

NOTHING = "nothing is acknowledged"


def outcome(checks: Sequence[Check], attempts: Sequence[Attempt], marks: Sequence[Mark]) -> Outcome:
    """Return what the drill found, with the pictures of these attempts."""
    return Outcome(checks=checks, samples=samples(attempts), marks=marks, refusals=refusals(attempts))


def kept(attempts: Sequence[Attempt], database: URL, seeds: Seeds) -> list[Check]:
    """Compare what was acknowledged with what is stored."""
    return stored(Ledger.of(only_writes(attempts), rows(database)), known=seeds.names)


def stored(ledger: Ledger, *, known: Sequence[str]) -> list[Check]:
    """Return what the ledger says of the rows, but for those that are known."""
    lost, duplicates = ledger.lost(), ledger.duplicates()
    misnamed, strangers = ledger.misnamed(), ledger.strangers(known)
    of_all = f"{len(lost)} of {len(ledger.acknowledged):,} lost"
    return [
        expect("nothing acknowledged is lost", of_all, lost if ledger.acknowledged else [NOTHING]),
        expect("nothing is stored twice", f"{len(duplicates)} duplicates", duplicates),
        expect("every answer names the row that is stored", f"{len(misnamed)} others", misnamed),
        expect("nothing else is stored", f"{len(strangers)} other rows", strangers),
    ]


def acknowledged(ledger: Ledger, *, retries: int) -> Check:
    """Return that every request was, sooner or later."""
    figure = f"{len(ledger.acknowledged):,} of {len(ledger.last):,}, with {retries:,} retries"
    return expect("every request is acknowledged in the end", figure, ledger.unacknowledged())


def succeeded(attempts: Sequence[Attempt]) -> Check:
    """Return that some requests were acknowledged, and that none failed nor met a closed door.

    Those without an answer are unknown and told apart.
    """
    last = [attempt for attempt in attempts if attempt.is_last]
    outcomes = Counter(attempt.outcome for attempt in last)
    failed = [described(attempt) for attempt in last if attempt.outcome in {REFUSED, UNSENT, MISTAKEN}]
    unknown = outcomes.total() - outcomes[ACKNOWLEDGED] - len(failed)
    figure = f"{len(failed):,} failed and {unknown:,} unknown of {len(last):,}"
    return expect("no request fails", figure, failed if outcomes[ACKNOWLEDGED] else [*failed, NOTHING])


def answered(attempts: Sequence[Attempt]) -> Check:
    """Return that there were requests, and that each was answered, with whatever."""
    silent = [described(attempt) for attempt in attempts if attempt.is_last and not attempt.status]
    figure = f"{len(silent):,} of {len(attempts):,} without an answer"
    return expect("every request is answered", figure, silent if attempts else ["there is none"])


def right(attempts: Sequence[Attempt]) -> Check:
    """Return that each answer belongs to its request."""
    mistaken = [described(attempt) for attempt in attempts if attempt.outcome == MISTAKEN]
    answers = sum(attempt.outcome == ACKNOWLEDGED for attempt in attempts)
    return expect("every answer belongs to its request", f"{len(mistaken)} of {answers:,} do not", mistaken)


def latency(attempts: Sequence[Attempt], percent: float) -> float:
    """Return a percentile of the latency in milliseconds, since the requests were due."""
    ordered = sorted((attempt.done - attempt.due) * 1000 for attempt in attempts if attempt.is_last)
    return percentile(ordered, percent) if ordered else float("inf")


def fast(claim: str, attempts: Sequence[Attempt], *, percent: float, milliseconds: float) -> Check:
    """Return that there are answers, all of them of 2xx, and that this percentile of their latency is below that."""
    failed = [described(attempt) for attempt in attempts if attempt.outcome != ACKNOWLEDGED]
    found = latency(attempts, percent)
    figure = f"p{percent:g} {found:.1f} ms, slowest {latency(attempts, 100.0):.1f} ms of {len(attempts):,}"
    slow = [f"p{percent:g} is {found:.1f} ms"] if found >= milliseconds else []
    return expect(f"{claim} in under {milliseconds:g} ms", figure, [*failed, *slow])


@dataclass(slots=True)
class Faults:
    """When which fault was there, by the system's monotonic clock."""

    moments: list[tuple[str, float, float]] = field(default_factory=list)

    def during(self, label: str) -> "During":
        """Return a block in which there is a fault."""
        return During(lambda start, end: self.moments.append((label, start, end)))

    def marks(self, attempts: Sequence[Attempt]) -> list[Mark]:
        """Return the faults for the pictures of these attempts."""
        begun = beginning(attempts)
        return [Mark(label=label, start=start - begun, end=end - begun) for label, start, end in self.moments]

    def without(self, attempts: Sequence[Attempt], *, longer_than: float) -> list[Attempt]:
        """Return the attempts that met no fault which was longer than that."""
        longer = [(start, end) for _, start, end in self.moments if end - start > longer_than]
        return [one for one in attempts if not any(one.due < end and start < one.done for start, end in longer)]

    def unmet(self, attempts: Sequence[Attempt]) -> list[str]:
        """Return a reason for each fault that no request met; a short one is met in the second that it began."""
        return [
            f"no request meets {label} after {start - beginning(attempts):.1f} s"
            for label, start, end in self.moments
            if not any(one.due < max(end, start + 1.0) and start < one.done for one in attempts)
        ]

    def beyond(self, one: Attempt) -> float:
        """Return how long a request took since it was due, but for the time that there were faults."""
        overlaps = (min(one.done, end) - max(one.due, start) for _, start, end in self.moments)
        return one.done - one.due - sum(overlap for overlap in overlaps if overlap > 0)

    @property
    def longest(self) -> float:
        """How long the longest one was."""
        return max((end - start for _, start, end in self.moments), default=0.0)


class During:
    """Tells when it began and ended."""

    def __init__(self, tell: Callable[[float, float], None]) -> None:
        self._tell = tell
        self._begun = 0.0

    def __enter__(self) -> Self:
        self._begun = monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tell(self._begun, monotonic())
