"""Latency over time with the faults marked, and latency by percentile, as SVG."""

from collections import Counter
from collections.abc import Iterator, Sequence

from tests.drills.drill import Mark
from tests.support.scales import Scale, nines, percentile
from tests.support.svg import FAINT, curve, document, line, rectangle, text

Samples = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 1040.0, 320.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 60.0, 24.0, 70.0, 36.0
_INNER, _DEPTH = WIDTH - _LEFT - _RIGHT, HEIGHT - _TOP - _BOTTOM
_MOST_SLICES, _LEAST_SLICES, _SLICE = 120, 20, 200
"""The slices of time that are drawn; where there is enough, each has as many samples as a p99 needs."""
_CURVES = ((50.0, "#0969da"), (99.0, "#bc4c00"), (100.0, "#6e7781"))
_FAULT, _REFUSED = "#fff1e5", "#cf222e"
_FACES = {100.0: "slowest"}
_MARKS = (50.0, 90.0, 99.0, 99.9, 99.99)


def latency_over_time(samples: Samples, marks: Sequence[Mark], refusals: Sequence[float] = (), *, title: str) -> str:
    """Return the latency of what was due in each slice of time: median, p99 and the slowest; and when some failed."""
    scale = _scale(samples)
    end = max([due for due, _ in samples] + [mark.end for mark in marks]) or 1.0
    shapes = [*_faults(marks, end), *_timeline(samples, scale, end, title), *_refused(refusals, end)]
    return document(WIDTH, HEIGHT, shapes, title=title)


def _faults(marks: Sequence[Mark], end: float) -> Iterator[str]:
    for mark in marks:
        start = _LEFT + _INNER * mark.start / end
        yield rectangle(start, _TOP, max(2.0, _INNER * (mark.end - mark.start) / end), _DEPTH, fill=_FAULT)
    kinds = Counter(mark.label for mark in marks)
    words = ", ".join(f"{label} ({count} times)" if count > 1 else label for label, count in kinds.items())
    if words:
        yield text(WIDTH - _RIGHT - 18, 52, words, size=11, fill=FAINT, anchor="end")
        yield rectangle(WIDTH - _RIGHT - 12, 43, 12, 11, fill=_FAULT)


def _timeline(samples: Samples, scale: Scale, end: float, title: str) -> Iterator[str]:
    yield from _frame(f"{title} (ms, by when a request was due)", scale)
    for share in range(5):
        yield text(
            _LEFT + _INNER * share / 4, HEIGHT - 14, f"{end * share / 4:.3g} s", size=11, fill=FAINT, anchor="middle"
        )
    slices = _slices(samples, end)
    for number, (percent, colour) in enumerate(_CURVES):
        yield text(_LEFT + 70 * number, 52, _FACES.get(percent, f"p{percent:g}"), fill=colour, bold=True)
        points = [(_LEFT + _INNER * middle, _height(percentile(ordered, percent), scale)) for middle, ordered in slices]
        yield curve(points, stroke=colour)


def _refused(refusals: Sequence[float], end: float) -> Iterator[str]:
    """Draw a stroke at the foot where a request got no answer of 2xx, once for each two points across."""
    if refusals:
        yield text(_LEFT + 70 * len(_CURVES), 52, f"not answered with 2xx: {len(refusals):,}", fill=_REFUSED, bold=True)
    for place in sorted({int(_INNER * due / end / 2) for due in refusals if due <= end}):
        yield rectangle(_LEFT + place * 2, HEIGHT - _BOTTOM - 9, 2, 9, fill=_REFUSED)


def _slices(samples: Samples, end: float) -> list[tuple[float, list[float]]]:
    """Return slices of time: where the middle of each is, from 0 to 1, and its sorted latencies in milliseconds."""
    count = max(_LEAST_SLICES, min(_MOST_SLICES, len(samples) // _SLICE))
    slices: dict[int, list[float]] = {}
    for due, seconds in samples:
        slices.setdefault(min(count - 1, int(due / end * count)), []).append(seconds * 1000)
    return [((at + 0.5) / count, sorted(found)) for at, found in sorted(slices.items())]


def curve_of_percentiles(samples: Samples, *, title: str) -> str:
    """Return the latency by percentile, as far out as the number of samples carries."""
    scale = _scale(samples)
    ordered = sorted(seconds * 1000 for _, seconds in samples)
    return document(WIDTH, HEIGHT, _percentiles(ordered, scale, title), title=title)


def _percentiles(ordered: Sequence[float], scale: Scale, title: str) -> Iterator[str]:
    yield from _frame(f"{title} (ms, {len(ordered):,} requests)", scale)
    furthest = nines(_MARKS[-1])
    for mark in _MARKS:
        x = _LEFT + _INNER * nines(mark) / furthest
        yield line(x, _TOP, x, HEIGHT - _BOTTOM)
        yield text(x, HEIGHT - 14, f"p{mark:g}", size=11, fill=FAINT, anchor="middle")
    places: dict[int, float] = {}  # a point across has one value, however many requests there are
    for rank, value in enumerate(ordered):
        if (out := nines(100 * rank / len(ordered))) <= furthest:
            places.setdefault(int(_INNER * out / furthest), value)
    yield curve(((_LEFT + x, _height(value, scale)) for x, value in places.items()), stroke=_CURVES[0][1])


def _frame(title: str, scale: Scale) -> Iterator[str]:
    yield text(_LEFT, 30, title, size=15, bold=True)
    for value in scale.ticks():
        yield line(_LEFT, _height(value, scale), WIDTH - _RIGHT, _height(value, scale))
        yield text(_LEFT - 7, _height(value, scale) + 4, f"{value:g}", size=11, fill=FAINT, anchor="end")


def _scale(samples: Samples) -> Scale:
    return Scale.around([seconds * 1000 for _, seconds in samples])


def _height(value: float, scale: Scale) -> float:
    return _TOP + _DEPTH * (1 - scale.share(value))
