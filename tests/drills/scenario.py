"""Data types of drills: input, checks and result."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from adapters.database_url import DEFAULT_DRIVER
from adapters.testing.template_databases import with_driver
from tests.drills.load.load_job import Attempt


class ScenarioError(Exception):
    """The drill did not run to its end, so it has no result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioSize:
    """Amount of work: requests, seconds of load or of a fault, number of faults, rows stored before the load.

    Short forms run beside other tests on slow machines. Their `hang_seconds` replaces each bound of a latency, so they
    find only requests that hang. With `patient`, the time limits of the service are so long that a slow machine does
    not reach them; use it where the claim is not about time limits.
    """

    requests: int = 0
    seconds: float = 0.0
    times: int = 0
    rows: int = 0
    hang_seconds: float = 0.0
    patient: bool = False

    def bound(self, seconds: float) -> float:
        """Return the bound of a latency in seconds."""
        return self.hang_seconds or seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioContext:
    """Input of a drill: a migrated database, an empty directory, the size, and callbacks for messages and progress.

    `progress` takes the completed and the total amount. `release` is a tag or commit that serves in place of the
    working tree; if empty, the working tree serves.
    """

    database: URL
    driver: str
    directory: Path
    size: ScenarioSize
    seed: str
    say: Callable[[str], None] = lambda _line: None
    progress: Callable[[int, int], None] = lambda _done, _total: None
    release: str = ""

    @property
    def url(self) -> URL:
        return with_driver(self.database, self.driver)


@dataclass(frozen=True, slots=True)
class Verification:
    """A claim, the measured figure, and the reason if the claim failed. The report begins with its key figures."""

    claim: str
    figure: str
    reason: str = ""
    is_key: bool = False

    @property
    def passed(self) -> bool:
        return not self.reason


def verify(claim: str, figure: str, reasons: Sequence[str] | bool, *, is_key: bool = False) -> Verification:
    """Return the check of a claim. It passes if `reasons` is True or empty."""
    if isinstance(reasons, bool):
        return Verification(claim, figure, "" if reasons else figure, is_key)
    more = [f"and {len(reasons) - 3} more"] if len(reasons) > 3 else []
    return Verification(claim, figure, "; ".join([*reasons[:3], *more]), is_key)


@dataclass(frozen=True, slots=True)
class FaultWindow:
    """A fault, by the monotonic clock of the system."""

    label: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def is_met_by(self, one: Attempt) -> bool:
        """Return True if the attempt was in progress at some time of the fault."""
        return one.due < self.end and self.start < one.done


@dataclass(frozen=True, slots=True)
class ScenarioResult:
    """Checks of a drill, and the attempts and faults of its chart."""

    checks: Sequence[Verification]
    attempts: Sequence[Attempt] = ()
    faults: Sequence[FaultWindow] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A fault-injection test: its claim in one sentence, its function, its two sizes, and its drivers.

    It runs over both drivers only if the claim depends on code of the driver, such as the detection of a lost
    connection. Otherwise a second run repeats the first one.
    """

    name: str
    claim: str
    run: Callable[[ScenarioContext], ScenarioResult]
    full: ScenarioSize
    quick: ScenarioSize
    drivers: Sequence[str] = (DEFAULT_DRIVER,)
