"""Logarithmic scales of charts: positions from 0 to 1, and labels."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A logarithmic scale between two values."""

    low: float
    high: float

    @classmethod
    def around(cls, values: Sequence[float]) -> "Scale":
        """Return the scale between round values that encloses these."""
        steps = list(_steps())
        low = max((step for step in steps if step <= min(values)), default=steps[0])
        return cls(low, min((step for step in steps if step >= max(values) and step > low), default=steps[-1]))

    def fraction(self, value: float) -> float:
        """Return how far up a value is."""
        return math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """Return the round values on the scale."""
        return [step for step in _steps() if self.low <= step <= self.high]


def log_percentile_position(percent: float) -> float:
    """Return how far out a percentile is: as far from p90 to p99 as from the start to p90, which is 1."""
    return -math.log10(1 - percent / 100)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of the sorted values by nearest rank."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def _steps() -> Iterable[float]:
    """Return 1, 2 and 5 of each power of ten."""
    return (round(base * 10.0**power, 6) for power in range(-3, 6) for base in (1, 2, 5))
