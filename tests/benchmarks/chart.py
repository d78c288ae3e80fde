"""The results as one picture: CPU per request above, latency by percentile below."""

from collections.abc import Iterable, Mapping, Sequence

from tests.benchmarks.servers import Service
from tests.benchmarks.summary import Result
from tests.support.chart_scale import LogPanel, log_percentile_position
from tests.support.svg import FAINT, GRID, document, line, rectangle, text

COLOURS = ("#0969da", "#6e7781", "#bc4c00", "#54aeff")
"""Of the services in their order."""

_PANEL, _GAP, _LEFT, _RIGHT = 236.0, 52.0, 66.0, 28.0
_BARS_TOP, _BARS_HEIGHT = 178.0, 200.0
_CURVES_TOP, _CURVES_HEIGHT = 506.0, 250.0
_HEIGHT = 866.0
_MARKS = (50, 90, 95, 99)
_CPU_NOTE = "User and system time of the server process. Each panel has its own scale."
_LATENCY_NOTE = (
    "From the scheduled time of a request, at half the throughput of the slowest service. Logarithmic scales."
)


def render(services: Sequence[Service], results: Sequence[Result], machine: Mapping[str, str], *, rounds: int) -> str:
    """Return the picture as SVG."""
    width = max(_LEFT + len(results) * (_PANEL + _GAP) - _GAP + _RIGHT, 900.0)
    title = f"{services[0].name}, two baselines, and {services[0].name} without log lines: the same requests"
    colours = {service.key: colour for service, colour in zip(services, COLOURS, strict=False)}
    values = [value for result in results for score in result.scores for value in score.latency_ms.values()]
    shapes = [*_head(title, services, colours), *_foot(machine, rounds)]
    for number, result in enumerate(results):
        left = _LEFT + number * (_PANEL + _GAP)
        panel = LogPanel.around(values, left=left, top=_CURVES_TOP, width=_PANEL, height=_CURVES_HEIGHT)
        shapes += [*_bars(left, result, colours), *_curves(result, colours, panel)]
    return document(width, _HEIGHT, shapes, title=title)


def _head(title: str, services: Sequence[Service], colours: Mapping[str, str]) -> Iterable[str]:
    yield text(_LEFT, 38, title, size=20, bold=True)
    x = _LEFT
    for service in services:
        yield rectangle(x, 54, 14, 14, fill=colours[service.key])
        words = f"{service.key}  {service.name}"
        yield text(x + 21, 66, words, size=14)
        x += 60 + 7.6 * len(words)
    for y, heading, note in (
        (104, "Server CPU per request, saturated (µs, less is better)", _CPU_NOTE),
        (_CURVES_TOP - 58, "Latency at a fixed rate, by percentile (ms, less is better)", _LATENCY_NOTE),
    ):
        yield text(_LEFT, y, heading, size=15, bold=True)
        yield text(_LEFT, y + 18, note, fill=FAINT)


def _foot(machine: Mapping[str, str], rounds: int) -> Iterable[str]:
    method = f"Medians of {rounds} rounds, in which the services run in turn over one database with equal responses"
    host = f"{machine['machine']}; {machine['system']}"
    for number, words in enumerate((machine["database"], host, f"{method}; {machine['measured']}"), 1):
        yield text(_LEFT, _HEIGHT - 18 * number, words, size=11, fill=FAINT)


def _bars(left: float, result: Result, colours: Mapping[str, str]) -> Iterable[str]:
    bottom = _BARS_TOP + _BARS_HEIGHT
    tallest = max(score.cpu_us for score in result.scores)
    slot = _PANEL / len(result.scores)
    yield text(left, _BARS_TOP - 28, f"{result.workload}  {result.title}", size=13, bold=True)
    for number, score in enumerate(result.scores):
        height = (_BARS_HEIGHT - 22) * score.cpu_us / tallest
        middle = left + slot * (number + 0.5)
        yield rectangle(middle - slot * 0.33, bottom - height, slot * 0.66, height, fill=colours[score.service])
        yield text(middle, bottom - height - 6, f"{score.cpu_us:,.0f}", size=13, anchor="middle")
        yield text(middle, bottom + 17, score.service, size=13, anchor="middle", bold=True)
    yield line(left, bottom, left + _PANEL, bottom, stroke=FAINT)
    first = result.scores[0].service
    words = ", ".join(f"{first} = {ratio.median:.2f} {other}" for other, ratio in result.cpu.items())
    yield text(left + _PANEL / 2, bottom + 35, words, fill=FAINT, anchor="middle")


def _curves(result: Result, colours: Mapping[str, str], panel: LogPanel) -> Iterable[str]:
    left, bottom = panel.left, panel.top + panel.height
    title = f"{result.workload} at {result.scores[0].rate:,.0f} requests/s"
    yield text(left, panel.top - 14, title, size=13, bold=True)
    yield from panel.grid()
    for mark in _MARKS:
        x = left + panel.width * _across(mark)
        yield line(x, panel.top, x, bottom, stroke=GRID)
        yield text(x, bottom + 17, f"p{mark}", size=11, fill=FAINT, anchor="middle")
    yield line(left, bottom, left + _PANEL, bottom, stroke=FAINT)
    for score in result.scores:
        points = [(_across(float(name[1:])), value) for name, value in score.latency_ms.items()]
        yield panel.curve(points, stroke=colours[score.service])


def _across(percent: float) -> float:
    """Return the horizontal position of a percentile, in a panel that ends with p99."""
    return log_percentile_position(percent) / 2
