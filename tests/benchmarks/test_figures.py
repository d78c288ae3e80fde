"""Tests for the results of benchmarks: percentiles, medians, ratios, verdict, chart and publication."""

import os
import shutil
import xml.etree.ElementTree as ET
from contextlib import nullcontext
from dataclasses import replace
from math import log
from pathlib import Path
from statistics import median
from typing import get_args
from unittest.mock import Mock

import pytest

from tests.benchmarks import __main__ as command
from tests.benchmarks import chart, publication, summary, table
from tests.benchmarks.cpu import clock_seconds, group_cpu_seconds
from tests.benchmarks.dataset import generated
from tests.benchmarks.runner import Plan, Run, percentiles
from tests.benchmarks.servers import SERVICES
from tests.benchmarks.summary import Report, summarize
from tests.benchmarks.workloads import WORKLOADS, workloads
from tests.support import generated_docs
from tests.support.svg import DARK, Theme

KEYS = [service.key for service in SERVICES]
MACHINE = {
    "measured": "2026-01-31T12:00:00+00:00",
    "machine": "a <fast> one",
    "system": "some",
    "python": "CPython 3.99, uvicorn 1",
    "database": "PostgreSQL 99, fsync on",
    "repeat": "python -m tests.benchmarks",
}
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
def report() -> Report:
    runs = [
        _run(workload, service, number, rate=rate)
        for workload in WORKLOADS
        for rate in (None, 50.0)
        for number in range(3)
        for service in KEYS
    ]
    work = workloads(generated(users=50, posts=100), list(WORKLOADS))
    return Report(
        machine=MACHINE,
        plan=Plan(rounds=3, seconds=2.0),
        rows={"users": 50, "posts": 100},
        services={service.key: service.name for service in SERVICES},
        results=[summarize(workload, KEYS, runs) for workload in work],
    )


def test_benchmark_ratio_compares_services_within_a_round(report: Report) -> None:
    ratio = report.results[0].cpu["b"]
    assert (ratio.median, ratio.least, ratio.most) == (2.0, 1.0, 3.0)
    assert report.results[0].cpu["f"].median == median([0.2, 0.15, 0.1])
    assert report.results[0].throughput["b"].median == 1.0
    assert [score.relative for score in report.results[0].scores] == [2.0, 1.0, 10.0, 1.6]


def test_benchmark_score_is_the_median_of_rounds(report: Report) -> None:
    score = report.results[1].scores[0]
    assert (score.service, score.cpu_us, score.throughput, score.rate) == ("h", 200.0, 500.0, 50.0)
    assert score.latency_ms["p50"] == 52.0


def test_benchmark_table_compares_ratios_with_targets(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(summary, "TARGETS", {"b": {"W1": 2.0, "W2": 1.99}, "q": {"W1": 1.2}})
    rows = [[cell.strip() for cell in line.split("|")] for line in table.render(report).split("\n")]
    assert {(row[1], row[2]): row[5] for row in rows if " / " in "".join(row[2:3]) and row[5]} == {
        ("W1", "h / b"): "2 met",
        ("W2", "h / b"): "1.99 MISSED",
        ("W1", "h / q"): "1.2 met",
    }
    assert summary.verdict(report.results) == "targets of CPU per request: 2 of 3 met"


def test_benchmark_table_marks_a_busy_load_generator(report: Report) -> None:
    assert " 95% ! |\n" in table.render(report)


@pytest.mark.parametrize("count", range(1, len(WORKLOADS) + 1))
def test_benchmark_chart_has_a_bar_per_service_and_workload(report: Report, count: int) -> None:
    root = ET.fromstring(chart.render(replace(report, results=report.results[:count])))  # noqa: S314 - our own
    texts = [shape.text for shape in root]
    assert [texts.count(figure) for figure in ("2.00", "10.0")] == [count, count]
    assert [texts.count(name) for name in ("Hexapost", "textbook FastAPI + ORM", "raw ASGI + asyncpg")] == [1, 1, 0]
    bars = [shape for shape in root if shape.get("height") == "13.0"]
    own, other = (float(bar.get("width", "")) for bar in (bars[0], bars[-1]))
    assert len(bars) == 2 * count
    assert other / own == pytest.approx(log(10) / log(2), rel=0.01)  # the distances from 1


def test_benchmark_chart_draws_less_cpu_to_the_left_of_the_line(report: Report) -> None:
    score = replace(report.results[0].scores[0], relative=0.25)
    result = replace(report.results[0], scores=[score, *report.results[0].scores[1:]])
    root = ET.fromstring(chart.render(replace(report, results=[result])))  # noqa: S314 - our own
    bars = [shape for shape in root if shape.get("height") == "13.0"]
    ends = [float(bar.get("x", "")) + float(bar.get("width", "")) for bar in bars]
    assert ends[0] == pytest.approx(float(bars[1].get("x", "")), abs=0.1)


@pytest.mark.parametrize("theme", get_args(Theme))
def test_benchmark_chart_of_a_theme_has_only_its_colors(report: Report, theme: Theme) -> None:
    picture = chart.render(report, theme=theme)
    assert any(color in picture for color in DARK) == (theme == "light")
    assert "prefers-color-scheme" not in picture


def test_benchmark_command_publishes_its_results(
    report: Report, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    docs = shutil.copytree(generated_docs.DOCS, tmp_path / "docs")
    monkeypatch.setattr(generated_docs, "DOCS", docs)
    monkeypatch.setattr(publication, "RESULTS", docs / "benchmarks.json")
    monkeypatch.setattr(command, "benchmark_databases", lambda *_: nullcontext(Mock()))
    monkeypatch.setattr(command, "Deployment", Mock())
    monkeypatch.setattr(command, "run_benchmark", lambda *_, **__: report)
    assert command.main(["--publish", "--users", "50", "--posts", "50"]) == 0
    assert publication.published() == report
    assert generated_docs.main(["--check"]) == 0
    page = (docs / "benchmarks.md").read_text("utf-8")
    assert (
        "Measured on 2026-01-31 with `python -m tests.benchmarks`: 3 rounds of\n2 s, 50 users and 100 posts.\n" in page
    )
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("|")]
    assert ["textbook FastAPI + ORM", *["10.00"] * len(WORKLOADS)] in rows
    assert ["raw ASGI + asyncpg, in µs", *["100"] * len(WORKLOADS)] in rows
    assert ["W1", "200 µs", "2.00 (target 0.6 MISSED)", "0.15 (target 0.1 MISSED)", "1.20 (target 1.11 MISSED)"] in [
        row[:5] for row in rows
    ]


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
