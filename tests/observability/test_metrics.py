"""Tests for the metrics of one process."""

from pathlib import Path

import pytest

from adapters.http.problems.catalog import REJECTIONS
from adapters.observability.metrics import DURATION_BUCKETS, MULTIPROC_DIR_VARIABLE, Metrics, temporary_multiproc_dir
from application.ports import (
    CommitResultUnknownError,
    ConcurrentUpdateError,
    StorageBusyError,
    StorageUnavailableError,
    TransientStorageError,
)
from application.retention import RetentionRule
from tests.observability.prometheus_samples import Scrape

REQUESTS = "hexapost_http_requests_total"
ROUTE = "/api/v1/users/{user_id}"
DURATION = "hexapost_http_request_duration_seconds"


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", rejections=REJECTIONS)


def scraped(metrics: Metrics) -> Scrape:
    return Scrape(metrics.render().decode())


def request(metrics: Metrics, *, status: int = 200, seconds: float = 0.02, rejection: str | None = None) -> None:
    metrics.request_started()
    metrics.request_finished(route=ROUTE, method="GET", status=status, seconds=seconds, rejection=rejection)


def test_request_durations_are_counted_by_route(metrics: Metrics) -> None:
    request(metrics)
    request(metrics, seconds=0.3)
    request(metrics, status=404)
    found = scraped(metrics)
    assert found.total(f"{DURATION}_count", route=ROUTE, method="GET") == 3
    assert found.total(f"{DURATION}_sum") == pytest.approx(0.34)
    assert found.total(f"{DURATION}_bucket", le="0.025") == 2
    assert found.total(f"{DURATION}_bucket", le="0.01") == 0
    assert len(list(found.found(f"{DURATION}_bucket"))) == len(DURATION_BUCKETS) + 1


def test_rejections_have_a_counter_for_each_reason(metrics: Metrics) -> None:
    assert {
        sample.labels["reason"] for sample in scraped(metrics).found("hexapost_http_requests_rejected_total")
    } == REJECTIONS
    request(metrics, status=503, rejection="overloaded")
    request(metrics, status=404, rejection="user-not-found")
    found = scraped(metrics)
    assert found.total("hexapost_http_requests_rejected_total", reason="overloaded") == 1
    assert found.total("hexapost_http_requests_rejected_total") == 1


def test_retries_are_counted_by_cause(metrics: Metrics) -> None:
    for failure in (
        ConcurrentUpdateError(),
        *(StorageUnavailableError(), CommitResultUnknownError()),
        *(TransientStorageError(), StorageBusyError(), StorageBusyError()),
    ):
        metrics.count_retry(failure)
    found = scraped(metrics).found("hexapost_db_transaction_retries_total")
    counts = {sample.labels["cause"]: sample.value for sample in found}
    assert counts == {"concurrent-change": 1, "storage-unavailable": 2, "transient": 3}


def test_purged_rows_are_counted_by_rule(metrics: Metrics) -> None:
    metrics.count_purged(RetentionRule.DRAFTS, 3)
    metrics.count_purged(RetentionRule.DRAFTS, 2)
    counts = {sample.labels["rule"]: sample.value for sample in scraped(metrics).found("hexapost_purged_rows_total")}
    assert counts == {rule: 5 if rule is RetentionRule.DRAFTS else 0 for rule in RetentionRule}


def test_gauges_have_current_values(metrics: Metrics) -> None:
    metrics.count_database_error("40001")
    metrics.set_purge_lag(12.5)
    usage = (10, 4, 0)
    metrics.set_pool_source(lambda: usage)
    for usage in ((10, 4, 0), (10, 10, 7)):
        found = scraped(metrics)
        names = ("connections_max", "connections_in_use", "waiters")
        assert tuple(found.total(f"hexapost_db_pool_{name}") for name in names) == usage
    assert found.total("hexapost_db_errors_total", sqlstate="40001") == 1
    assert found.total("hexapost_purge_lag_seconds") == 12.5
    assert found.total("hexapost_last_purge_timestamp_seconds") == 0
    assert found.total("hexapost_build_info", version="1.2.3") == 1
    metrics.record_purge()
    assert scraped(metrics).total("hexapost_last_purge_timestamp_seconds") > 1.7e9


def test_metrics_have_prefixed_names_and_help_texts(metrics: Metrics) -> None:
    request(metrics)
    families = scraped(metrics).families
    assert len(families) == 13
    for family in families:
        assert family.name.startswith("hexapost_")
        assert family.documentation.endswith(".")
        assert not family.name.endswith("_created")
    assert {family.type for family in families} == {"counter", "gauge", "histogram"}
    assert list(scraped(Metrics(version="2")).found(REQUESTS)) == []


def test_shared_metrics_directory_is_temporary_unless_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv(MULTIPROC_DIR_VARIABLE, raising=False)
    with temporary_multiproc_dir() as variables:
        directory = Path(variables[MULTIPROC_DIR_VARIABLE])
        assert list(directory.iterdir()) == []
    assert not directory.exists()
    monkeypatch.setenv(MULTIPROC_DIR_VARIABLE, str(tmp_path))
    with temporary_multiproc_dir() as variables:
        assert variables == {}
    assert tmp_path.exists()


def test_metrics_directory_of_a_killed_process_is_removed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(MULTIPROC_DIR_VARIABLE, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("hexapost-metrics-killed", "hexapost-metrics-new", "other"):
        (tmp_path / name).mkdir()
    for name in ("hexapost-metrics-killed", "other"):
        (tmp_path / name / "0.lock").touch()
    (tmp_path / "hexapost-metrics-link").symlink_to(tmp_path / "other")
    (tmp_path / "hexapost-metrics-file").touch()
    with temporary_multiproc_dir() as variables:
        used = Path(variables[MULTIPROC_DIR_VARIABLE])
        (used / "0.lock").touch()
        with temporary_multiproc_dir():
            assert (used / "0.lock").exists()
    remaining = {"hexapost-metrics-new", "other", "hexapost-metrics-link", "hexapost-metrics-file"}
    assert {path.name for path in tmp_path.iterdir()} == remaining
    assert (tmp_path / "other" / "0.lock").exists()
