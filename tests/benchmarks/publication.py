"""The published results: docs/benchmarks.json, from which `make docs` writes the tables and the chart."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from pydantic import TypeAdapter

from tests.benchmarks.servers import RAW, SERVICES
from tests.benchmarks.summary import Report, Result, target, verdict
from tests.support.benchmark_server import ROOT
from tests.support.markdown import format_table

RESULTS = ROOT / "docs" / "benchmarks.json"


def publish(report: Report) -> None:
    RESULTS.write_text(f"{json.dumps(asdict(report))}\n", encoding="utf-8")


def published() -> Report:
    return TypeAdapter(Report).validate_json(RESULTS.read_bytes())


def markdown(report: Report) -> Iterator[str]:
    """Yield the lines of the section about the results."""
    plan, rows, machine = report.plan, report.rows, report.machine
    first, *others = (service.key for service in SERVICES)
    yield f"Measured on {machine['measured'][:10]} with `{machine['repeat']}`: {plan.rounds} rounds of"
    yield f"{plan.seconds:g} s, {rows['users']:,} users and {rows['posts']:,} posts."
    yield from ("", f"CPU per request relative to {RAW.name}, whose own CPU is in the last row:", "")
    yield from format_table([("service", *(result.workload for result in report.results)), *_relative(report)], words=1)
    yield from ("", f"{report.services[first]} relative to each baseline, with the {verdict(report.results)}:", "")
    heads = ("work", "CPU per request", *(report.services[key] for key in others), "p95 at a fixed rate")
    yield from format_table([heads, *(_own(first, others, result) for result in report.results)], words=1)
    yield from ("", "The machine and the versions:", "")
    for name, value in machine.items():
        if name not in {"measured", "repeat", "not shown"}:
            yield f"- {name}: {value}"


def _relative(report: Report) -> Iterator[Sequence[str]]:
    for key, name in report.services.items():
        if key != RAW.key:
            yield (name, *(f"{result.score(key).relative:.2f}" for result in report.results))
    yield (f"{RAW.name}, in µs", *(f"{result.score(RAW.key).cpu_us:,.0f}" for result in report.results))


def _own(first: str, others: Sequence[str], result: Result) -> Sequence[str]:
    """Return the row of a workload."""
    score = result.score(first)
    cells = []
    for key in others:
        limit = target(result, key)
        cells.append(f"{result.cpu[key].median:.2f}" + (f" (target {limit})" if limit else ""))
    latency = f"{score.latency_ms['p95']:.1f} ms at {score.rate:,.0f}/s"
    return (result.workload, f"{score.cpu_us:,.0f} µs", *cells, latency)
