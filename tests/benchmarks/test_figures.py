"""Tests for the results of benchmarks: percentiles, medians, ratios, verdict and chart."""

import os
import xml.etree.ElementTree as ET
from statistics import median

import pytest

from tests.benchmarks import chart, summary, table
from tests.benchmarks.cpu import clock_seconds, group_cpu_seconds
from tests.benchmarks.dataset import generated
from tests.benchmarks.runner import Run, percentiles
from tests.benchmarks.servers import SERVICES
from tests.benchmarks.summary import Result, summarize
from tests.benchmarks.workloads import WORKLOADS, workloads

KEYS = [service.key for service in SERVICES]
MACHINE = {"machine": "a <fast> one", "system": "some", "database": "PostgreSQL", "measured": "today"}
CPU = {
    "h": (200.0, 300.0, 100.0),
    "b": (100.0, 100.0, 100.0),
    "f": (1000.0, 2000.0, 1000.0),
    "q": (160.0, 250.0, 100.0),
}
"""Microseconds per service and round."""


def _run(workload: str, service: str, number: int, *, rate: float | None) -> Run:
    cpu = CPU[service][number]
    return Run(
        workload=workload,
        service=service,
        round=number,
        rate=rate,
        completed=1000,
        seconds=2.0,
        server_cpu_seconds=cpu / 1000,
        generator_cpu_seconds=1.9,
        latency_ms=percentiles([cpu / 100 + step for step in range(100)]) if rate else {},
    )


@pytest.fixture(scope="module")
def results() -> list[Result]:
    runs = [
        _run(workload, service, number, rate=rate)
        for workload in WORKLOADS
        for rate in (None, 50.0)
        for number in range(3)
        for service in KEYS
    ]
    work = workloads(generated(users=50, posts=100), list(WORKLOADS))
    return [summarize(workload, KEYS, runs) for workload in work]


def test_benchmark_ratio_compares_services_within_a_round(results: list[Result]) -> None:
    ratio = results[0].cpu["b"]
    assert (ratio.median, ratio.least, ratio.most) == (2.0, 1.0, 3.0)
    assert results[0].cpu["f"].median == median([0.2, 0.15, 0.1])
    assert results[0].throughput["b"].median == 1.0


def test_benchmark_score_is_the_median_of_rounds(results: list[Result]) -> None:
    score = results[1].scores[0]
    assert (score.service, score.cpu_us, score.throughput, score.rate) == ("h", 200.0, 500.0, 50.0)
    assert score.latency_ms["p50"] == 52.0


def test_benchmark_table_compares_ratios_with_targets(results: list[Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "TARGETS", {"b": {"W1": 2.0, "W2": 1.99}, "q": {"W1": 1.2}})
    rows = [[cell.strip() for cell in line.split("|")] for line in table.render(SERVICES, results, MACHINE).split("\n")]
    assert {(row[1], row[2]): row[5] for row in rows if " / " in "".join(row[2:3]) and row[5]} == {
        ("W1", "h / b"): "2 met",
        ("W2", "h / b"): "1.99 MISSED",
        ("W1", "h / q"): "1.2 met",
    }
    assert summary.verdict(results) == "targets of CPU per request: 2 of 3 met"


def test_benchmark_table_marks_a_busy_load_generator(results: list[Result]) -> None:
    assert " 95% ! |\n" in table.render(SERVICES, results, MACHINE)


@pytest.mark.parametrize("count", range(1, len(WORKLOADS) + 1))
def test_benchmark_chart_has_a_curve_per_service(results: list[Result], count: int) -> None:
    root = ET.fromstring(chart.render(SERVICES, results[:count], MACHINE, rounds=3))  # noqa: S314 - our own
    shapes = [shape.tag.rpartition("}")[2] for shape in root]
    assert shapes.count("polyline") == count * len(KEYS)
    assert {f"{number:g}" for number in (100, 200, 1000)} <= {(shape.text or "").replace(",", "") for shape in root}


def test_benchmark_percentile_uses_the_nearest_rank() -> None:
    found = percentiles([float(value) for value in range(100, 0, -1)])
    assert (found["p50"], found["p99"]) == (51.0, 100.0)
    assert percentiles([]) == {}


@pytest.mark.parametrize(
    ("text", "seconds"), [("0:00.25", 0.25), ("12:03.50", 723.5), ("01:00:01", 3601), ("2-00:00:01", 172_801)]
)
def test_cpu_time_parses_the_format_of_ps(text: str, seconds: float) -> None:
    assert clock_seconds(text) == seconds


def test_cpu_time_covers_a_process_group() -> None:
    assert group_cpu_seconds(os.getpgrp()) >= sum(os.times()[:2]) * 0.9 - 0.02
