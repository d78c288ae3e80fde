"""Panels of charts with a logarithmic scale, and percentiles."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from tests.support.svg import FAINT, curve, line, text

_STEPS = [round(base * 10.0**power, 6) for power in range(-3, 6) for base in (1, 2, 5)]
"""1, 2 and 5 of each power of ten."""


@dataclass(frozen=True, slots=True)
class LogPanel:
    """A rectangle with a logarithmic vertical scale between two round values."""

    left: float
    top: float
    width: float
    height: float
    low: float
    high: float
    label_size: float = 11

    @classmethod
    def around(
        cls, values: Sequence[float], *, left: float, top: float, width: float, height: float, label_size: float = 11
    ) -> "LogPanel":
        """Return the panel with the smallest scale that contains the values."""
        low = max((step for step in _STEPS if step <= min(values)), default=_STEPS[0])
        high = min((step for step in _STEPS if step >= max(values) and step > low), default=_STEPS[-1])
        return cls(left, top, width, height, low, high, label_size)

    def y(self, value: float) -> float:
        fraction = math.log(max(value, self.low) / self.low) / math.log(self.high / self.low)
        return self.top + self.height * (1 - fraction)

    def grid(self) -> Iterator[str]:
        """Draw a line and a label per round value."""
        for value in (step for step in _STEPS if self.low <= step <= self.high):
            yield line(self.left, self.y(value), self.left + self.width, self.y(value))
            yield text(self.left - 7, self.y(value) + 4, f"{value:g}", size=self.label_size, fill=FAINT, anchor="end")

    def curve(self, points: Iterable[tuple[float, float]], *, stroke: str) -> str:
        """Draw a line through points of a horizontal position from 0 to 1, and a value."""
        return curve([(self.left + self.width * x, self.y(value)) for x, value in points], stroke=stroke)


def log_percentile_position(percent: float) -> float:
    """Return how far out a percentile is: as far from p90 to p99 as from the start to p90, which is 1."""
    return -math.log10(1 - percent / 100)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return a percentile of the sorted values by nearest rank."""
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]
