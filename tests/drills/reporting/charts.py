"""SVG chart: latency over time, with the faults."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.drills.scenario import FaultWindow, ScenarioResult
from tests.support.chart_scale import Scale, percentile
from tests.support.svg import FAINT, curve, document, line, rectangle, text

Samples = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 1040.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 24.0, 70.0, 36.0
_INNER, _DEPTH = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_MOST_SLICES, _LEAST_SLICES, _SLICE = 120, 20, 200
"""Bounds of the number of time slices, and the samples per slice that a p99 needs."""
_CURVES = {50.0: ("p50", "#0969da"), 99.0: ("p99", "#bc4c00"), 100.0: ("slowest", "#6e7781")}
_FAULT, _REFUSED = "#fff1e5", "#cf222e"


def latency_over_time(outcome: ScenarioResult, *, title: str) -> str:
    """Draw median, p99 and maximum by due time, with the faults and the requests that were not acknowledged."""
    scale = _scale(outcome.samples)
    end = max([due for due, _ in outcome.samples] + [mark.end for mark in outcome.marks]) or 1.0
    shapes = [
        *_faults(outcome.marks, end),
        *_timeline(outcome.samples, scale, end, title),
        *_refused(outcome.refusals, end),
    ]
    return document(WIDTH, HEIGHT, shapes, title=title)


def _faults(marks: Sequence[FaultWindow], end: float) -> Iterator[str]:
    for mark in marks:
        start = _LEFT + _INNER * mark.start / end
        yield rectangle(start, _TOP, max(2.0, _INNER * (mark.end - mark.start) / end), _DEPTH, fill=_FAULT)
    kinds = Counter(mark.label for mark in marks)
    if legend := ", ".join(f"{label} ({count} times)" if count > 1 else label for label, count in kinds.items()):
        yield text(WIDTH - _RIGHT - 18, 52, legend, size=11, fill=FAINT, anchor="end")
        yield rectangle(WIDTH - _RIGHT - 12, 43, 12, 11, fill=_FAULT)


def _timeline(samples: Samples, scale: Scale, end: float, title: str) -> Iterator[str]:
    yield from _frame(f"{title} (ms, by due time of the request)", scale)
    for part in range(5):
        x = _LEFT + _INNER * part / 4
        yield text(x, HEIGHT - 14, f"{end * part / 4:.3g} s", size=11, fill=FAINT, anchor="middle")
    slices = _slices(samples, end)
    for number, (percent, (label, colour)) in enumerate(_CURVES.items()):
        yield text(_LEFT + 70 * number, 52, label, fill=colour, bold=True)
        points = [(_LEFT + _INNER * middle, _height(percentile(ordered, percent), scale)) for middle, ordered in slices]
        yield curve(points, stroke=colour)


def _refused(refusals: Sequence[float], end: float) -> Iterator[str]:
    """Draw at most one stroke per two pixels."""
    if refusals:
        yield text(_LEFT + 70 * len(_CURVES), 52, f"not answered with 2xx: {len(refusals):,}", fill=_REFUSED, bold=True)
    for place in sorted({int(_INNER * due / end / 2) for due in refusals if due <= end}):
        yield rectangle(_LEFT + place * 2, HEIGHT - _BOTTOM - 9, 2, 9, fill=_REFUSED)


def _slices(samples: Samples, end: float) -> list[tuple[float, list[float]]]:
    """Return the middle of each time slice, from 0 to 1, and its sorted latencies in milliseconds."""
    count = max(_LEAST_SLICES, min(_MOST_SLICES, len(samples) // _SLICE))
    slices: dict[int, list[float]] = {}
    for due, seconds in samples:
        slices.setdefault(min(count - 1, int(due / end * count)), []).append(seconds * 1000)
    return [((at + 0.5) / count, sorted(found)) for at, found in sorted(slices.items())]


def _frame(title: str, scale: Scale) -> Iterator[str]:
    yield text(_LEFT, 30, title, size=15, bold=True)
    for value in scale.ticks():
        yield line(_LEFT, _height(value, scale), WIDTH - _RIGHT, _height(value, scale))
        yield text(_LEFT - 7, _height(value, scale) + 4, f"{value:g}", size=11, fill=FAINT, anchor="end")


def _scale(samples: Samples) -> Scale:
    return Scale.around([seconds * 1000 for _, seconds in samples])


def _height(value: float, scale: Scale) -> float:
    return _TOP + _DEPTH * (1 - scale.fraction(value))
