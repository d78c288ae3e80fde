"""The results as one picture: CPU per request above, latency by percentile below."""

from collections.abc import Iterable, Mapping, Sequence

from tests.benchmarks.servers import Service
from tests.benchmarks.summary import Result
from tests.support.chart_scale import LogPanel, log_percentile_position
from tests.support.svg import FAINT, GRID, document, line, rectangle, text

COLOURS = ("#0969da", "#6e7781", "#bc4c00", "#54aeff", "#1a7f37", "#bf3989", "#8250df", "#9a6700", "#cf222e")
"""Of the services in their order."""

_PANEL, _GAP, _LEFT, _RIGHT = 300.0, 52.0, 66.0, 28.0
_COLUMNS, _LEGENDS = 4, 5
_TOP, _LEGEND_HEIGHT, _HEADING_HEIGHT, _FOOT = 54.0, 24.0, 84.0, 70.0
_BARS_HEIGHT, _CURVES_HEIGHT = 200.0, 250.0
_BARS_ROW, _CURVES_ROW = 290.0, 310.0
_MARKS = (50, 90, 95, 99)
_CPU_NOTE = "User and system time of the server process. Each panel has its own scale."
_LATENCY_NOTE = (
    "From the scheduled time of a request, at half the throughput of the slowest service. Logarithmic scales."
)


def render(services: Sequence[Service], results: Sequence[Result], machine: Mapping[str, str], *, rounds: int) -> str:
    """Return the picture as SVG."""
    columns = max(min(len(results), _COLUMNS), 3)
    width = _LEFT + columns * (_PANEL + _GAP) - _GAP + _RIGHT
    rows = -(-len(results) // _COLUMNS)
    bars_top = _TOP + -(-len(services) // _LEGENDS) * _LEGEND_HEIGHT + _HEADING_HEIGHT
    curves_top = bars_top + rows * _BARS_ROW + _HEADING_HEIGHT
    height = curves_top + rows * _CURVES_ROW + _FOOT
    title = f"{services[0].name} and {len(services) - 1} other services: the same requests"
    colours = {service.key: colour for service, colour in zip(services, COLOURS, strict=False)}
    values = [value for result in results for score in result.scores for value in score.latency_ms.values()]
    shapes = [
        *_legend(title, services, colours, width),
        *_heading(bars_top, "Server CPU per request, saturated (µs, less is better)", _CPU_NOTE),
        *_heading(curves_top, "Latency at a fixed rate, by percentile (ms, less is better)", _LATENCY_NOTE),
        *_foot(machine, rounds, height),
    ]
    for number, result in enumerate(results):
        row, column = divmod(number, _COLUMNS)
        left = _LEFT + column * (_PANEL + _GAP)
        top = curves_top + row * _CURVES_ROW
        panel = LogPanel.around(values, left=left, top=top, width=_PANEL, height=_CURVES_HEIGHT)
        shapes += [*_bars(left, bars_top + row * _BARS_ROW, result, colours), *_curves(result, colours, panel)]
    return document(width, height, shapes, title=title)


def _legend(title: str, services: Sequence[Service], colours: Mapping[str, str], width: float) -> Iterable[str]:
    yield text(_LEFT, 38, title, size=20, bold=True)
    for number, service in enumerate(services):
        row, column = divmod(number, _LEGENDS)
        x, y = _LEFT + column * (width - _LEFT) / _LEGENDS, _TOP + row * _LEGEND_HEIGHT
        yield rectangle(x, y, 14, 14, fill=colours[service.key])
        yield text(x + 21, y + 12, f"{service.key}  {service.name}", size=14)


def _heading(top: float, heading: str, note: str) -> Iterable[str]:
    yield text(_LEFT, top - 58, heading, size=15, bold=True)
    yield text(_LEFT, top - 40, note, fill=FAINT)


def _foot(machine: Mapping[str, str], rounds: int, height: float) -> Iterable[str]:
    method = f"Medians of {rounds} rounds, in which the services run in turn over one database with equal responses"
    host = f"{machine['machine']}; {machine['system']}"
    for number, words in enumerate((machine["database"], host, f"{method}; {machine['measured']}"), 1):
        yield text(_LEFT, height - 18 * number, words, size=11, fill=FAINT)


def _bars(left: float, top: float, result: Result, colours: Mapping[str, str]) -> Iterable[str]:
    bottom = top + _BARS_HEIGHT
    tallest = max(score.cpu_us for score in result.scores)
    slot = _PANEL / len(result.scores)
    size = 13 if len(result.scores) < _LEGENDS else 11
    yield text(left, top - 12, f"{result.workload}  {result.title}", size=13, bold=True)
    for number, score in enumerate(result.scores):
        height = (_BARS_HEIGHT - 22) * score.cpu_us / tallest
        middle = left + slot * (number + 0.5)
        yield rectangle(middle - slot * 0.33, bottom - height, slot * 0.66, height, fill=colours[score.service])
        yield text(middle, bottom - height - 6, f"{score.cpu_us:,.0f}", size=size, anchor="middle")
        yield text(middle, bottom + 17, score.service, size=13, anchor="middle", bold=True)
    yield line(left, bottom, left + _PANEL, bottom, stroke=FAINT)
    first = result.scores[0].service
    words = ", ".join(f"{first} = {ratio.median:.2f} {other}" for other, ratio in list(result.cpu.items())[:3])
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
