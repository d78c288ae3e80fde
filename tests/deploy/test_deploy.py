"""Tests for the dashboard, the alerts and the scrape configuration."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import HTTPError

import promql_parser
import pytest
import yaml

from adapters.http.problems.catalog import REJECTIONS
from adapters.http.routers.metrics import CONTENT_TYPE
from adapters.testing.template_databases import Databases, connected
from tests.cli.support import Served, create_api_key, rendered, serving, terminate_waiting, wait_until
from tests.observability.prometheus_samples import Scrape

ROOT = Path(__file__).parents[2]
DASHBOARD = json.loads((ROOT / "deploy/grafana/hexapost.json").read_text())
RULES = yaml.safe_load((ROOT / "deploy/prometheus/alerts.yml").read_text())
PROMETHEUS = yaml.safe_load((ROOT / "deploy/prometheus/prometheus.yml").read_text())
ALERTS: list[dict[str, Any]] = [rule for group in RULES["groups"] for rule in group["rules"]]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
CONFIGURATION = (ROOT / "docs/configuration.md").read_text()
OBSERVABILITY = (ROOT / "docs/observability.md").read_text()

Node = TypeVar("Node")
TARGET_LABELS = {"job", "instance"}
"""The labels that Prometheus adds to each sample."""


def expressions() -> Iterator[tuple[str, str]]:
    """Yield the title and the text of each PromQL expression, with Grafana's variables replaced."""
    for alert in ALERTS:
        yield alert["alert"], alert["expr"]
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", "5m")


@pytest.fixture(scope="module")
def scrape(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scrape]:
    """The metrics of a service after a retry, an unknown path and a purge."""
    directory, url = tmp_path_factory.mktemp("scraped"), databases.clone()
    settings = {"DATABASE_URL": rendered(url), "HEXAPOST_PURGE_INTERVAL_SECONDS": "1"}
    key = create_api_key(directory, **settings)
    with serving(directory, **settings) as served:
        served.get("/api/v1/users", key=key).read()
        with ThreadPoolExecutor() as threads, connected(url) as admin:
            with admin.transaction():
                admin.execute("LOCK TABLE users")
                retried = threads.submit(lambda: served.get("/api/v1/users", key=key).read())
                wait_until(lambda: terminate_waiting(admin))
            retried.result()
        with suppress(HTTPError):
            served.get("/nowhere")
        wait_until(lambda: _scraped(served, key).total("hexapost_last_purge_timestamp_seconds") > 0)
        yield _scraped(served, key)
    databases.drop(url)


def _scraped(served: Served, key: str) -> Scrape:
    response = served.get("/metrics", key=key)
    assert response.headers["content-type"] == CONTENT_TYPE
    return Scrape(response.read().decode())


def nodes(expression: str, kind: type[Node]) -> list[Node]:
    """Return the nodes of a type in an expression."""
    found: list[Node] = []

    def visit(node: object) -> bool:
        if isinstance(node, kind):
            found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    """Return the selectors of metrics in an expression."""
    return nodes(expression, promql_parser.VectorSelector)


def grouping_labels(expression: str) -> set[str]:
    """Return the labels in the `by` clauses of an expression."""
    aggregations = nodes(expression, promql_parser.AggregateExpr)
    return {label for node in aggregations if node.modifier is not None for label in node.modifier.labels}


def family_name(sample: str) -> str:
    """Return the name of a metric without the suffix of a histogram's sample."""
    return re.sub("_(bucket|count|sum)$", "", sample)


@pytest.mark.parametrize(("title", "expression"), list(expressions()))
def test_promql_expressions_use_existing_metrics_and_labels(scrape: Scrape, title: str, expression: str) -> None:
    labels = {"up": set(TARGET_LABELS)}
    for sample in scrape.samples:
        labels.setdefault(sample.name, set(TARGET_LABELS)).update(sample.labels)
    used = selectors(expression)
    assert used, title
    for selector in used:
        assert selector.name in labels, title
        assert {matcher.name for matcher in selector.matchers.matchers} <= labels[selector.name], title
    assert grouping_labels(expression) <= set.union(*(labels[str(selector.name)] for selector in used)), title


def test_dashboard_shows_every_metric(scrape: Scrape) -> None:
    titles = {panel["title"] for panel in PANELS}
    used = {str(selector.name) for title, text in expressions() if title in titles for selector in selectors(text)}
    assert {family_name(sample.name) for sample in scrape.samples} == set(map(family_name, used))


def test_docs_list_every_metric_with_its_labels(scrape: Scrape) -> None:
    exposed: dict[str, set[str]] = {}
    for sample in scrape.samples:
        exposed.setdefault(family_name(sample.name), set()).update(set(sample.labels) - {"le"})
    rows = re.findall(r"^\| `(hexapost_\w+)` \| (.*?)\| ", OBSERVABILITY, re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", labels)) for name, labels in rows} == exposed


def test_docs_list_every_alert_with_its_severity() -> None:
    rows = re.findall(r"^\| `(Hexapost\w+)` \| (\w+) \|", OBSERVABILITY, re.MULTILINE)
    assert rows == [(alert["alert"], alert["labels"]["severity"]) for alert in ALERTS]


def test_promql_expressions_match_existing_rejection_reasons(scrape: Scrape) -> None:
    for title, expression in expressions():
        for selector in selectors(expression):
            for matcher in selector.matchers.matchers:
                if matcher.name == "reason":
                    assert set(matcher.value.split("|")) <= REJECTIONS, title
    assert {sample.labels["reason"] for sample in scrape.found("hexapost_http_requests_rejected_total")} == REJECTIONS


def test_scrape_counts_retries_errors_and_unknown_paths(scrape: Scrape) -> None:
    assert scrape.total("hexapost_db_transaction_retries_total", cause="storage-unavailable") >= 1
    assert scrape.total("hexapost_db_errors_total") >= 1
    assert scrape.total("hexapost_http_requests_total", route="unmatched", status="404") == 1
    assert scrape.total("hexapost_db_pool_connections_max") == 10


def test_alerts_have_severity_and_runbook() -> None:
    names = [alert["alert"] for alert in ALERTS]
    assert len(set(names)) == len(names) >= 8
    for alert in ALERTS:
        assert re.fullmatch(r"[1-9][0-9]*m", alert["for"]), alert
        assert alert["labels"]["severity"] in {"page", "ticket"}, alert
        assert set(alert["annotations"]) == {"summary", "runbook"}, alert
        assert "\n" not in alert["annotations"]["runbook"].strip(), alert


def test_runbooks_name_existing_settings_and_alerts() -> None:
    for alert in ALERTS:
        runbook = alert["annotations"]["runbook"]
        for name in re.findall(r"HEXAPOST_[A-Z_]+", runbook):
            assert f"`{name}`" in CONFIGURATION, name
        for name in re.findall(r"Hexapost[A-Z]\w+", runbook):
            assert name in {other["alert"] for other in ALERTS}, name


def test_pool_alert_uses_only_waiting_requests() -> None:
    """The pools of one instance are summed: 10 of 10 in use, plus 3 of 10, is 13 of 20 with requests waiting."""
    (expression,) = [alert["expr"] for alert in ALERTS if alert["alert"] == "HexapostPoolExhausted"]
    assert {selector.name for selector in selectors(expression)} == {"hexapost_db_pool_waiters"}


def test_build_info_panel_sums_processes_by_version() -> None:
    (panel,) = [panel for panel in PANELS if panel["description"] == "Processes by version."]
    assert panel["targets"][0]["expr"].startswith("sum by (version) (hexapost_build_info{")


def test_dashboard_has_unique_ids_and_no_overlaps() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)
    assert [variable["name"] for variable in DASHBOARD["templating"]["list"]] == ["datasource", "instance", "route"]
    cells = [
        (x, y)
        for panel in DASHBOARD["panels"]
        for position in [panel["gridPos"]]
        for x in range(position["x"], position["x"] + position["w"])
        for y in range(position["y"], position["y"] + position["h"])
    ]
    assert len(set(cells)) == len(cells), "panels overlap"
    assert max(x for x, _ in cells) == 23
    for panel in PANELS:
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert {target["datasource"]["uid"] for target in panel["targets"]} == {"${datasource}"}
        for target in panel["targets"]:
            assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouping_labels(
                target["expr"].replace("$__rate_interval", "5m")
            )


def test_prometheus_scrapes_with_a_key() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    assert job["job_name"] == "hexapost"
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["type"] == "Bearer"
    assert job["authorization"]["credentials_file"].startswith("/etc/")
    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
