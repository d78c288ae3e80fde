"""What a drill is, what it is given and what it returns."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import URL


class DrillError(Exception):
    """The drill could not be carried out, so that it says nothing about the service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How much a drill does: requests for those that count them, seconds of load or of a fault, times of a fault.

    `rows` are there before, in a drill that asks for more than a few.

    `slack` is how many times as long as claimed an answer may take: a short form runs beside other tests. Where the
    service is `patient`, its own limits do not end what a stall of the machine holds up; the claim is not about them.
    """

    requests: int = 0
    seconds: float = 0.0
    times: int = 0
    rows: int = 0
    slack: float = 1.0
    patient: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """What a drill is given: a migrated database and a directory of its own, how much to do, and where to tell."""

    database: URL
    driver: str
    directory: Path
    size: Size
    seed: str
    say: Callable[[str], None]
    progress: Callable[[int, int], None]
    """Takes how much is done, and of how much."""
    release: str = ""
    """The tag or commit of the release before, for a drill that has one; empty where the own code stands in for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One claim, the figure that was found, and the reason why it does not hold, if it does not."""

    claim: str
    figure: str
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the claim holds."""
        return not self.reason


def expect(claim: str, figure: str, reasons: Sequence[str] | bool) -> Check:
    """Return the check of a claim, which holds when it is true or when there is no reason against it."""
    if isinstance(reasons, bool):
        return Check(claim=claim, figure=figure, reason="" if reasons else figure)
    shown = "; ".join(reasons[:3]) + (f"; and {len(reasons) - 3} more" if len(reasons) > 3 else "")
    return Check(claim=claim, figure=figure, reason=shown)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A fault, in seconds since the load began."""

    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a drill found, and for its pictures: when each operation was due, how long it took, where the faults were.

    Samples are pairs in seconds, the first since the load began; refusals are when an operation was due that was not
    acknowledged.
    """

    checks: Sequence[Check]
    samples: Sequence[tuple[float, float]] = field(default_factory=list)
    marks: Sequence[Mark] = field(default_factory=list)
    refusals: Sequence[float] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every claim holds."""
        return all(check.passed for check in self.checks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Drill:
    """A proof by fault injection: what it claims in a sentence, how it is run, and how much it does."""

    name: str
    claim: str
    run: Callable[[Stage], Outcome]
    full: Size
    quick: Size
