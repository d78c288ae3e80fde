"""The results as text."""

from collections.abc import Iterator, Sequence

from tests.benchmarks.summary import Ratio, Report, target, verdict
from tests.support.markdown import format_table

BUSY = 0.9
"""From this share of a core on, the load generator is what limits the throughput."""

_HEADS = ("work", "service", "CPU µs/req", "req/s", "at req/s", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "generator")
_RATIO_HEADS = ("work", "over", "CPU", "(min-max)", "target", "throughput", "(min-max)")


def render(report: Report) -> str:
    """Return the tables and, as the last line, how many targets are met."""
    lines = [
        *(f"{result.workload}: {result.title}" for result in report.results),
        *(f"{name}: {value}" for name, value in report.machine.items()),
        "",
        *format_table([_HEADS, *_scores(report)], words=2),
        "",
        *format_table([_RATIO_HEADS, *_ratios(report)], words=2),
        "",
        "Medians of rounds in turn. CPU and req/s: saturated; ms: latency at the fixed rate, from when a request was",
        f"due. generator: the load generator's share of a core when saturated; above {BUSY:.0%} (!) it is the limit.",
        verdict(report.results),
    ]
    return "\n".join(lines) + "\n"


def _scores(report: Report) -> Iterator[Sequence[str]]:
    for result in report.results:
        for score in result.scores:
            yield (
                result.workload,
                f"{score.service} {report.services[score.service]}",
                f"{score.cpu_us:,.0f}",
                f"{score.throughput:,.0f}",
                f"{score.rate:,.0f}",
                *(f"{score.latency_ms[point]:.2f}" for point in ("p50", "p90", "p95", "p99")),
                f"{score.generator_share:.0%}{' !' if score.generator_share > BUSY else ''}",
            )


def _ratios(report: Report) -> Iterator[Sequence[str]]:
    first = next(iter(report.services))
    for result in report.results:
        for other, cpu in result.cpu.items():
            throughput = _cells(result.throughput[other])
            yield (result.workload, f"{first} / {other}", *_cells(cpu), target(result, other), *throughput)


def _cells(ratio: Ratio) -> tuple[str, str]:
    return f"{ratio.median:.2f}", f"{ratio.least:.2f}-{ratio.most:.2f}"
