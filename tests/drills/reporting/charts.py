"""Charts of a drill, as HTML with SVG: latency over time with the faults, and latency by percentile."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tests.drills.load.http_connection import ACKNOWLEDGED, CANCELLED, MISMATCHED
from tests.drills.load.load_job import Attempt
from tests.drills.scenario import FaultWindow, ScenarioResult
from tests.support.chart_scale import LogPanel, log_percentile_position, percentile
from tests.support.svg import FAINT, GRID, document, line, rectangle, text

Samples = Sequence[tuple[float, float]]
"""Due time in seconds since the start of the load, and latency in milliseconds."""

WIDTH, HEIGHT = 520.0, 300.0
"""A phone shows the width at two thirds, so that text of 14 remains readable."""
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 24.0, 66.0, 36.0
_SIZE = 14.0
_INNER, _DEPTH = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_MOST_SLICES, _LEAST_SLICES, _SLICE = 120, 20, 200
"""Bounds of the number of time slices, and the samples per slice that a p99 needs."""
_CURVES = {50.0: ("p50", "#0969da"), 99.0: ("p99", "#bc4c00"), 100.0: ("slowest", "#6e7781")}
_PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_POINTS = 100
"""Points of a percentile curve, which ends with the last percentile."""
_HAS_CONTENT = {ACKNOWLEDGED, MISMATCHED}
_FAULT, _REFUSED = "#fff1e5", "#cf222e"
_OUTSIDE, _INSIDE = "#0969da", "#bc4c00"


def latency_charts(result: ScenarioResult, *, title: str) -> str:
    """Draw both charts from the attempts that were not cancelled. Latency counts from the due time of a request."""
    last = [one for one in result.attempts if one.is_last and one.outcome != CANCELLED]
    legend = f'<figcaption><span class="fault"></span> {escape(_legend(result.faults))}</figcaption>'
    figures = (
        _over_time(last, result.faults, title) + legend * bool(result.faults),
        _by_percentile(last, result.faults, title),
    )
    return "\n".join(['<div class="charts">', *(f"<figure>\n{figure}</figure>" for figure in figures), "</div>"])


def _over_time(attempts: Sequence[Attempt], faults: Sequence[FaultWindow], title: str) -> str:
    """Draw median, p99 and maximum by due time, with the faults and the requests that were not acknowledged."""
    start = min((one.due for one in attempts), default=0.0)
    samples = [(one.due - start, _milliseconds(one)) for one in attempts if one.outcome in _HAS_CONTENT]
    refusals = [one.due - start for one in attempts if one.outcome not in _HAS_CONTENT]
    marks = [FaultWindow(fault.label, fault.start - start, fault.end - start) for fault in faults]
    panel = _panel(milliseconds for _, milliseconds in samples)
    end = max([due for due, _ in samples] + [mark.end for mark in marks], default=0.0) or 1.0
    shapes = [
        *_faults(marks, end),
        text(_LEFT, 26, "Latency over time (ms)", size=16, bold=True),
        *panel.grid(),
        *_timeline(samples, panel, end),
        *_refused(refusals, end),
    ]
    return document(WIDTH, HEIGHT, shapes, title=f"{title}: latency over time")


def _by_percentile(attempts: Sequence[Attempt], faults: Sequence[FaultWindow], title: str) -> str:
    """Draw two curves: requests during a fault, and all other requests."""
    groups: dict[bool, list[float]] = {False: [], True: []}
    for one in attempts:
        if one.outcome in _HAS_CONTENT:
            groups[any(fault.is_met_by(one) for fault in faults)].append(_milliseconds(one))
    panel = _panel(value for group in groups.values() for value in group)
    shapes = [text(_LEFT, 26, "Latency by percentile (ms)", size=16, bold=True), *panel.grid()]
    for percent in _PERCENTILES:
        x = _LEFT + _INNER * log_percentile_position(percent) / log_percentile_position(_PERCENTILES[-1])
        shapes += [
            line(x, _TOP, x, HEIGHT - _BOTTOM, stroke=GRID),
            text(x, HEIGHT - 12, f"p{percent:g}", size=_SIZE, fill=FAINT, anchor="middle"),
        ]
    x = _LEFT
    for is_met, label, color in ((False, "without a fault", _OUTSIDE), (True, "during a fault", _INSIDE)):
        if ordered := sorted(groups[is_met]):
            shapes.append(text(x, 50, f"{label}: {len(ordered):,}", size=_SIZE, fill=color, bold=True))
            shapes.append(panel.curve(_percentile_curve(ordered), stroke=color))
            x += 210
    return document(WIDTH, HEIGHT, shapes, title=f"{title}: latency by percentile")


def _percentile_curve(ordered: Sequence[float]) -> Iterator[tuple[float, float]]:
    for point in range(_POINTS + 1):
        beyond = 10 ** (-point / _POINTS * log_percentile_position(_PERCENTILES[-1]))
        yield point / _POINTS, percentile(ordered, 100 * (1 - beyond))


def _panel(milliseconds: Iterable[float]) -> LogPanel:
    return LogPanel.around(
        list(milliseconds) or [1.0], left=_LEFT, top=_TOP, width=_INNER, height=_DEPTH, label_size=_SIZE
    )


def _milliseconds(one: Attempt) -> float:
    return 1000 * (one.done - one.due)


def _faults(marks: Sequence[FaultWindow], end: float) -> Iterator[str]:
    for mark in marks:
        start = _LEFT + _INNER * mark.start / end
        yield rectangle(start, _TOP, max(2.0, _INNER * (mark.end - mark.start) / end), _DEPTH, fill=_FAULT)


def _legend(faults: Sequence[FaultWindow]) -> str:
    kinds = Counter(fault.label for fault in faults)
    return ", ".join(f"{label} ({count} times)" if count > 1 else label for label, count in kinds.items())


def _timeline(samples: Samples, panel: LogPanel, end: float) -> Iterator[str]:
    for part in range(5):
        x = _LEFT + _INNER * part / 4
        yield text(x, HEIGHT - 12, f"{end * part / 4:.3g} s", size=_SIZE, fill=FAINT, anchor="middle")
    slices = _slices(samples, end)
    for number, (percent, (label, color)) in enumerate(_CURVES.items()):
        yield text(_LEFT + 60 * number, 50, label, size=_SIZE, fill=color, bold=True)
        yield panel.curve([(middle, percentile(ordered, percent)) for middle, ordered in slices], stroke=color)


def _refused(refusals: Sequence[float], end: float) -> Iterator[str]:
    """Draw at most one stroke per two pixels."""
    if refusals:
        words = f"not answered with 2xx: {len(refusals):,}"
        yield text(WIDTH - _RIGHT, 50, words, size=_SIZE, fill=_REFUSED, bold=True, anchor="end")
    for place in sorted({int(_INNER * due / end / 2) for due in refusals if due <= end}):
        yield rectangle(_LEFT + place * 2, HEIGHT - _BOTTOM - 9, 2, 9, fill=_REFUSED)


def _slices(samples: Samples, end: float) -> list[tuple[float, list[float]]]:
    """Return the middle of each time slice, from 0 to 1, and its sorted latencies."""
    count = max(_LEAST_SLICES, min(_MOST_SLICES, len(samples) // _SLICE))
    slices: dict[int, list[float]] = {}
    for due, milliseconds in samples:
        slices.setdefault(min(count - 1, int(due / end * count)), []).append(milliseconds)
    return [((at + 0.5) / count, sorted(found)) for at, found in sorted(slices.items())]
