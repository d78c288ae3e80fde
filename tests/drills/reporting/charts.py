"""SVG chart: latency over time, with the faults."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.drills.load.http_connection import ACKNOWLEDGED, CANCELLED, MISMATCHED
from tests.drills.scenario import FaultWindow, ScenarioResult
from tests.support.chart_scale import LogPanel, percentile
from tests.support.svg import FAINT, document, rectangle, text

Samples = Sequence[tuple[float, float]]
"""Due time in seconds since the start of the load, and latency in milliseconds."""

WIDTH, HEIGHT = 1040.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 24.0, 70.0, 36.0
_INNER, _DEPTH = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_MOST_SLICES, _LEAST_SLICES, _SLICE = 120, 20, 200
"""Bounds of the number of time slices, and the samples per slice that a p99 needs."""
_CURVES = {50.0: ("p50", "#0969da"), 99.0: ("p99", "#bc4c00"), 100.0: ("slowest", "#6e7781")}
_HAS_CONTENT = {ACKNOWLEDGED, MISMATCHED}
_FAULT, _REFUSED = "#fff1e5", "#cf222e"


def latency_over_time(result: ScenarioResult, *, title: str) -> str:
    """Draw median, p99 and maximum by due time, with the faults and the requests that were not acknowledged."""
    start = min(one.due for one in result.attempts)
    last = [one for one in result.attempts if one.is_last and one.outcome != CANCELLED]
    samples = [(one.due - start, 1000 * (one.done - one.due)) for one in last if one.outcome in _HAS_CONTENT]
    refusals = [one.due - start for one in last if one.outcome not in _HAS_CONTENT]
    marks = [FaultWindow(fault.label, fault.start - start, fault.end - start) for fault in result.faults]
    values = [milliseconds for _, milliseconds in samples]
    panel = LogPanel.around(values or [1.0], left=_LEFT, top=_TOP, width=_INNER, height=_DEPTH)
    end = max([due for due, _ in samples] + [mark.end for mark in marks]) or 1.0
    shapes = [
        *_faults(marks, end),
        text(_LEFT, 30, f"{title} (ms, by due time of the request)", size=15, bold=True),
        *panel.grid(),
        *_timeline(samples, panel, end),
        *_refused(refusals, end),
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


def _timeline(samples: Samples, panel: LogPanel, end: float) -> Iterator[str]:
    for part in range(5):
        x = _LEFT + _INNER * part / 4
        yield text(x, HEIGHT - 14, f"{end * part / 4:.3g} s", size=11, fill=FAINT, anchor="middle")
    slices = _slices(samples, end)
    for number, (percent, (label, colour)) in enumerate(_CURVES.items()):
        yield text(_LEFT + 70 * number, 52, label, fill=colour, bold=True)
        yield panel.curve([(middle, percentile(ordered, percent)) for middle, ordered in slices], stroke=colour)


def _refused(refusals: Sequence[float], end: float) -> Iterator[str]:
    """Draw at most one stroke per two pixels."""
    if refusals:
        yield text(_LEFT + 70 * len(_CURVES), 52, f"not answered with 2xx: {len(refusals):,}", fill=_REFUSED, bold=True)
    for place in sorted({int(_INNER * due / end / 2) for due in refusals if due <= end}):
        yield rectangle(_LEFT + place * 2, HEIGHT - _BOTTOM - 9, 2, 9, fill=_REFUSED)


def _slices(samples: Samples, end: float) -> list[tuple[float, list[float]]]:
    """Return the middle of each time slice, from 0 to 1, and its sorted latencies."""
    count = max(_LEAST_SLICES, min(_MOST_SLICES, len(samples) // _SLICE))
    slices: dict[int, list[float]] = {}
    for due, milliseconds in samples:
        slices.setdefault(min(count - 1, int(due / end * count)), []).append(milliseconds)
    return [((at + 0.5) / count, sorted(found)) for at, found in sorted(slices.items())]
