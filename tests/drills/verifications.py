"""Checks that several drills share."""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from time import monotonic

from sqlalchemy import URL

from tests.drills.load.http_connection import ACKNOWLEDGED, MISMATCHED, REFUSED, UNSENT
from tests.drills.load.load_job import Attempt
from tests.drills.load.workload import SeedData, only_writes
from tests.drills.reconciliation import Reconciliation, describe, rows
from tests.drills.scenario import FaultWindow, Verification, verify
from tests.support.chart_scale import percentile

NOTHING = "no request is acknowledged"


def beginning(attempts: Sequence[Attempt]) -> float:
    return min((attempt.due for attempt in attempts), default=0.0)


def window_of_load(attempts: Sequence[Attempt], label: str) -> FaultWindow:
    """Return a window from the first due time to the end of the last attempt."""
    return FaultWindow(label, beginning(attempts), max(attempt.done for attempt in attempts))


def standard_checks(
    attempts: Sequence[Attempt], database: URL, seeds: SeedData, *, claimed: Sequence[Attempt] | None = None
) -> list[Verification]:
    """Check that no request fails, no responses are mixed up, and no acknowledged write is lost.

    The claim that no request fails is about the attempts `claimed`, or about all.
    """
    claimed = attempts if claimed is None else claimed
    return [
        succeeded(claimed),
        answered(claimed),
        responses_match_requests(attempts),
        *nothing_lost(attempts, database, seeds),
    ]


def nothing_lost(attempts: Sequence[Attempt], database: URL, seeds: SeedData) -> list[Verification]:
    """Compare acknowledged writes with stored rows."""
    return stored(Reconciliation.of(only_writes(attempts), rows(database)), known=seeds.names)


def stored(ledger: Reconciliation, *, known: Sequence[str]) -> list[Verification]:
    lost, duplicates = ledger.lost(), ledger.duplicates()
    misnamed, strangers = ledger.wrong_ids(), ledger.unexpected_rows(known)
    of_all = f"{len(lost)} of {len(ledger.acknowledged):,} lost"
    return [
        verify("no acknowledged write is lost", of_all, lost if ledger.acknowledged else [NOTHING], is_key=True),
        verify("no write is stored twice", f"{len(duplicates)} duplicates", duplicates, is_key=True),
        verify("each response has the id of the stored row", f"{len(misnamed)} wrong ids", misnamed),
        verify("no other row is stored", f"{len(strangers)} other rows", strangers),
    ]


def acknowledged(ledger: Reconciliation, *, retries: int) -> Verification:
    figure = f"{len(ledger.acknowledged):,} of {len(ledger.last):,}, with {retries:,} retries"
    return verify("every request is acknowledged in the end", figure, ledger.unacknowledged(), is_key=True)


def succeeded(attempts: Sequence[Attempt]) -> Verification:
    """Check that some requests were acknowledged, and no request failed. A missing response is unknown, not failed."""
    last = [attempt for attempt in attempts if attempt.is_last]
    outcomes = Counter(attempt.outcome for attempt in last)
    failed = [describe(attempt) for attempt in last if attempt.outcome in {REFUSED, UNSENT, MISMATCHED}]
    unknown = outcomes.total() - outcomes[ACKNOWLEDGED] - len(failed)
    figure = f"{len(failed):,} failed and {unknown:,} unknown of {len(last):,}"
    return verify("no request fails", figure, failed if outcomes[ACKNOWLEDGED] else [*failed, NOTHING], is_key=True)


def all_acknowledged(attempts: Sequence[Attempt]) -> Verification:
    """Check that every request was acknowledged. An aborted connection counts as a failure."""
    failed = [describe(one) for one in attempts if one.outcome != ACKNOWLEDGED]
    figure = f"{len(failed)} of {len(attempts):,} fail, p99 {latency(attempts, 99.0):.0f} ms"
    return verify("no request fails or is aborted", figure, failed if attempts else [NOTHING], is_key=True)


def answered(attempts: Sequence[Attempt]) -> Verification:
    silent = [describe(attempt) for attempt in attempts if attempt.is_last and not attempt.status]
    figure = f"{len(silent):,} of {len(attempts):,} without a response"
    return verify("every request gets a response", figure, silent if attempts else ["no request was sent"])


def responses_match_requests(attempts: Sequence[Attempt]) -> Verification:
    mistaken = [describe(attempt) for attempt in attempts if attempt.outcome == MISMATCHED]
    responses = sum(attempt.outcome == ACKNOWLEDGED for attempt in attempts)
    return verify("every response belongs to its request", f"{len(mistaken)} of {responses:,} do not", mistaken)


def latency(attempts: Sequence[Attempt], percent: float) -> float:
    """Return a percentile of the latency in milliseconds, from the due time."""
    ordered = sorted((attempt.done - attempt.due) * 1000 for attempt in attempts if attempt.is_last)
    return percentile(ordered, percent) if ordered else float("inf")


def latency_below(claim: str, attempts: Sequence[Attempt], *, percent: float, seconds: float) -> Verification:
    """Check that every attempt was acknowledged, and that a percentile of the latency is below the bound."""
    failed = [describe(attempt) for attempt in attempts if attempt.outcome != ACKNOWLEDGED]
    found = latency(attempts, percent)
    figure = f"p{percent:g} {found:.1f} ms, slowest {latency(attempts, 100.0):.1f} ms of {len(attempts):,}"
    slow = [f"p{percent:g} is {found:.1f} ms"] if found >= 1000 * seconds else []
    return verify(f"{claim} in under {1000 * seconds:g} ms", figure, [*failed, *slow])


@dataclass(slots=True)
class FaultTimeline:
    windows: list[FaultWindow] = field(default_factory=list)

    @contextmanager
    def during(self, label: str) -> Iterator[None]:
        start = monotonic()
        try:
            yield
        finally:
            self.windows.append(FaultWindow(label, start, monotonic()))

    def without(self, attempts: Sequence[Attempt], *, longer_than: float) -> list[Attempt]:
        """Return the attempts that met only faults of at most that many seconds."""
        longer = [window for window in self.windows if window.seconds > longer_than]
        return [one for one in attempts if not any(window.is_met_by(one) for window in longer)]

    def fault_errors(self, attempts: Sequence[Attempt], expected: int) -> list[str]:
        """Return an error for each fault without a request, and for a wrong number of faults.

        A fault shorter than one second counts as one second long.
        """
        wrong = [
            f"no request meets {window.label} after {window.start - beginning(attempts):.1f} s"
            for window in self.windows
            if not any(replace(window, end=max(window.end, window.start + 1.0)).is_met_by(one) for one in attempts)
        ]
        return wrong if len(self.windows) == expected else [*wrong, f"expected {expected} times"]

    def time_outside_faults(self, one: Attempt) -> float:
        """Return the latency of an attempt without the time of faults."""
        overlaps = (min(one.done, window.end) - max(one.due, window.start) for window in self.windows)
        return one.done - one.due - sum(overlap for overlap in overlaps if overlap > 0)

    @property
    def longest(self) -> float:
        return max((window.seconds for window in self.windows), default=0.0)
