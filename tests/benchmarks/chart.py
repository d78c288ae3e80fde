"""The chart: CPU per request of each service relative to raw ASGI + asyncpg, narrow enough for a phone."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tests.benchmarks.servers import QUIET, RAW
from tests.benchmarks.summary import Report, Result
from tests.support.svg import FAINT, GRID, Theme, document, line, rectangle, text

TITLE = f"CPU per request relative to {RAW.name}"
WIDTH = 520.0
_MARGIN, _TOP, _ROW, _FOOT = 14.0, 112.0, 66.0, 76.0
_COLUMN, _BAR_HEIGHT = 61.5, 13.0
_OWN, _OTHER = "#0969da", "#6e7781"
_NOTES = (
    "A bar to the left of its line is less CPU than that of the hand-written",
    "ASGI function. The scale is logarithmic.",
)
_LABELS = {
    "W0": "liveness",
    "W1": "get",
    "W2": "list",
    "W3": "create",
    "W4": "mix",
    "W5": "update",
    "W6": "with key",
    "W7": "search",
}


@dataclass(frozen=True, slots=True)
class _Scale:
    """A logarithmic scale with the line of 1."""

    low: float
    high: float
    width: float = 50.0

    def x(self, value: float) -> float:
        return self.width * math.log(value / self.low) / math.log(self.high / self.low)


def render(report: Report, *, theme: Theme | None = None) -> str:
    """Return the chart as SVG, with a row for each service and a column for each workload."""
    names = {key: name for key, name in report.services.items() if key not in {RAW.key, QUIET.key}}
    rows = {key: [result.score(key).relative for result in report.results] for key in names}
    values = [value for row in rows.values() for value in row]
    scale = _Scale(min(0.5, *values), max(2.0, *values))
    height = _TOP + len(names) * _ROW + _FOOT
    shapes = [*_heads(report.results), *_foot(report, height)]
    for number, (key, row) in enumerate(rows.items()):
        shapes += _row(_TOP + number * _ROW, names[key], row, scale, fill=_OTHER if number else _OWN)
    return document(WIDTH, height, shapes, title=TITLE, theme=theme)


def _heads(results: Sequence[Result]) -> Iterable[str]:
    yield text(_MARGIN, 32, TITLE, size=17, bold=True)
    for number, note in enumerate(_NOTES):
        yield text(_MARGIN, 54 + 18 * number, note, size=14, fill=FAINT)
    for column, result in enumerate(results):
        left = _MARGIN + column * _COLUMN
        yield text(left, _TOP - 12, result.workload, size=14, bold=True)
        yield text(left, _TOP + 4, _LABELS[result.workload], size=12, fill=FAINT)


def _row(top: float, name: str, values: Sequence[float], scale: _Scale, *, fill: str) -> Iterable[str]:
    yield line(_MARGIN, top + 13, WIDTH - _MARGIN, top + 13, stroke=GRID)
    yield text(_MARGIN, top + 31, name, size=15, bold=True)
    for column, value in enumerate(values):
        left, bar = _MARGIN + column * _COLUMN, top + 39
        start, end = sorted([scale.x(1.0), scale.x(value)])
        yield rectangle(left + start, bar, end - start, _BAR_HEIGHT, fill=fill)
        yield line(left + scale.x(1.0), bar - 3, left + scale.x(1.0), bar + _BAR_HEIGHT + 3, stroke=FAINT)
        yield text(left, bar + 30, f"{value:.2f}" if value < 10 else f"{value:.1f}", size=15)


def _foot(report: Report, height: float) -> Iterable[str]:
    machine = report.machine
    versions = [machine[name].partition(",")[0] for name in ("python", "database")]
    lines = (
        machine["machine"],
        f"{machine['system']}, {', '.join(versions)}, measured on {machine['measured'][:10]}",
        f"Medians of {report.plan.rounds} rounds of {report.plan.seconds:g} s. All versions: docs/benchmarks.md",
    )
    for number, words in enumerate(lines):
        yield text(_MARGIN, height - 46 + 17 * number, words, size=12, fill=FAINT)
