"""Tests for the Kubernetes manifests: schemas, rendered overlays, and values that depend on each other."""

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.server.uvicorn_server import DRAIN_TIMEOUT_SECONDS
from adapters.server.worker_process import START_TIMEOUT_SECONDS, STOP_TIMEOUT_SECONDS
from adapters.settings import DATABASE_URL, Settings, variable
from tests.deploy import kubernetes_manifests
from tests.deploy.checkouts import ROOT
from tests.deploy.kubernetes_manifests import (
    FILES,
    KUBERNETES,
    OVERLAYS,
    Resource,
    load,
    render,
    renderer,
    schema_errors,
)
from tests.deploy.test_deploy import PROMETHEUS
from tests.deploy.test_systemd import SECRETS

DEPLOYMENT = load(KUBERNETES / "base/deployment.yaml")
JOB = load(KUBERNETES / "expand/job.yaml")
SERVICE_MONITOR = KUBERNETES / "components/service-monitor/service-monitor.yaml"
PRODUCTION = KUBERNETES / "overlays/production"
DEFAULTS = {name: field.default for name, field in Settings.model_fields.items()}
POSTGRES_CONNECTIONS = 100 - 3
"""max_connections of PostgreSQL without those of superusers, by default."""

CREATE_SECRET = re.compile(r"^kubectl -n hexapost create secret generic (\S+) (.+)$", re.MULTILINE)

needs_kustomize = pytest.mark.skipif(renderer() is None, reason="kubectl and kustomize are not installed")


def pod(workload: Resource) -> Resource:
    """Return the specification of the pods of a Deployment or a Job."""
    specification: Resource = workload["spec"]["template"]["spec"]
    return specification


def container(workload: Resource) -> Resource:
    """Return the only container of the pods."""
    (found,) = pod(workload)["containers"]
    return dict(found)


def pod_labels(workload: Resource) -> dict[str, str]:
    """Return the labels of the pods."""
    return dict(workload["spec"]["template"]["metadata"]["labels"])


def by_kind(resources: list[Resource]) -> dict[str, Resource]:
    """Return the resources by their kinds, which must differ."""
    found = {resource["kind"]: resource for resource in resources}
    assert len(found) == len(resources)
    return found


def check_service_monitor(path: Path) -> subprocess.CompletedProcess[str]:
    """Run the command of `make check` on a ServiceMonitor."""
    schema = ROOT / "tests/deploy/service_monitor.schema.json"
    command: list[str | Path] = [Path(sys.executable).parent / "check-jsonschema", "--schemafile", schema, path]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own command


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_manifest_has_no_schema_errors(path: Path) -> None:
    assert schema_errors(load(path)) == []


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("readOnlyRootFileSystem", True, "securityContext: Additional properties are not allowed"),
        ("runAsUser", "10001", "securityContext.runAsUser: '10001' is not of type"),
    ],
)
def test_manifest_with_invalid_field_has_schema_errors(field: str, value: Any, error: str) -> None:
    invalid = copy.deepcopy(DEPLOYMENT)
    pod(invalid)["containers"][0]["securityContext"][field] = value
    errors = schema_errors(invalid)
    assert len(errors) == 2
    assert all(error in found for found in errors)


def test_manifest_of_unknown_kind_has_schema_errors() -> None:
    assert "for kind CronDeployment" in schema_errors({**DEPLOYMENT, "kind": "CronDeployment"})[0]


def test_check_exits_for_invalid_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubernetes_manifests.main()
    invalid = tmp_path / "job.yaml"
    invalid.write_text((KUBERNETES / "expand/job.yaml").read_text().replace("restartPolicy", "restartpolicy"))
    monkeypatch.setattr(kubernetes_manifests, "FILES", [invalid])
    with pytest.raises(SystemExit, match="'restartpolicy' was unexpected"):
        kubernetes_manifests.main()


def test_service_monitor_schema_rejects_unknown_field(tmp_path: Path) -> None:
    assert check_service_monitor(SERVICE_MONITOR).returncode == 0
    invalid = tmp_path / "invalid.yaml"
    invalid.write_text(SERVICE_MONITOR.read_text().replace("scrapeTimeout", "scrape_timeout"))
    rejected = check_service_monitor(invalid)
    assert (rejected.returncode, "'scrape_timeout' was unexpected" in rejected.stdout) == (1, True)


@needs_kustomize
@pytest.mark.parametrize(
    ("overlay", "image"), [("local", "hexapost:local"), ("production", "registry.example.org/hexapost:0.1.0")]
)
def test_overlay_renders_valid_resources_of_one_release(overlay: str, image: str) -> None:
    directories = [directory for directory in OVERLAYS if directory.parent.name == overlay]
    assert [directory.name for directory in directories] == ["contract", "expand", "service"]
    resources = [resource for directory in directories for resource in render(directory)]
    assert [error for resource in resources for error in schema_errors(resource)] == []
    assert {resource["metadata"]["namespace"] for resource in resources} == {"hexapost"}
    workloads = [resource for resource in resources if resource["kind"] in {"Deployment", "Job"}]
    assert [container(workload)["image"] for workload in workloads] == [image] * 3


@needs_kustomize
def test_production_overlay_uses_its_settings_and_the_autoscaler() -> None:
    rendered = by_kind(render(PRODUCTION / "service"))
    (reference,) = container(rendered["Deployment"])["envFrom"]
    settings = rendered["ConfigMap"]
    assert reference["configMapRef"]["name"] == settings["metadata"]["name"] != "hexapost-settings"
    assert {"HEXAPOST_HOST", "OTEL_EXPORTER_OTLP_ENDPOINT"} <= set(settings["data"])
    names = {name for name in settings["data"] if not name.startswith("OTEL_")}
    assert names <= set(map(variable, Settings.model_fields))
    assert rendered["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == "hexapost"
    assert "replicas" not in rendered["Deployment"]["spec"]


@needs_kustomize
def test_migration_jobs_differ_only_in_name_and_phase() -> None:
    (expand,), (contract,) = render(PRODUCTION / "expand"), render(PRODUCTION / "contract")
    assert container(contract)["command"] == [*container(expand)["command"], "--phase", "contract"]
    assert (expand["metadata"]["name"], contract["metadata"]["name"]) == ("hexapost-expand", "hexapost-contract")
    contract["metadata"]["name"] = "hexapost-expand"
    pod(contract)["containers"][0]["command"] = container(expand)["command"]
    assert contract == expand


def test_pod_has_time_to_drain() -> None:
    pause = container(DEPLOYMENT)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(DEPLOYMENT)["terminationGracePeriodSeconds"] >= pause + STOP_TIMEOUT_SECONDS
    assert STOP_TIMEOUT_SECONDS > DRAIN_TIMEOUT_SECONDS >= DEFAULTS["request_timeout_seconds"]


def test_startup_probe_allows_the_start_timeout() -> None:
    probe = container(DEPLOYMENT)["startupProbe"]
    assert probe["periodSeconds"] * probe["failureThreshold"] >= START_TIMEOUT_SECONDS


def test_probes_and_service_use_the_port_of_the_container() -> None:
    probes = {name: probe["httpGet"] for name, probe in container(DEPLOYMENT).items() if name.endswith("Probe")}
    assert {name: probe["path"] for name, probe in probes.items()} == {
        "startupProbe": "/livez",
        "livenessProbe": "/livez",
        "readinessProbe": "/readyz",
    }
    (service_port,) = load(KUBERNETES / "base/service.yaml")["spec"]["ports"]
    (monitor,) = load(SERVICE_MONITOR)["spec"]["endpoints"]
    (rule,) = load(KUBERNETES / "base/network-policy.yaml")["spec"]["ingress"]
    assert container(DEPLOYMENT)["ports"] == [{"name": "http", "containerPort": DEFAULTS["port"]}]
    ports = {probe["port"] for probe in probes.values()} | {port["port"] for port in rule["ports"]}
    assert ports | {service_port["targetPort"], service_port["name"], monitor["port"]} == {"http"}


def test_selectors_match_only_their_pods() -> None:
    labels = pod_labels(DEPLOYMENT)
    spec = {path.stem: load(path)["spec"] for path in FILES}
    selectors = [spread["labelSelector"] for spread in pod(DEPLOYMENT)["topologySpreadConstraints"]]
    selectors += [spec[name]["selector"] for name in ("deployment", "disruption-budget", "service-monitor")]
    assert [selector["matchLabels"] for selector in selectors] == [labels] * 5
    assert spec["service"]["selector"] == load(KUBERNETES / "base/service.yaml")["metadata"]["labels"] == labels
    policy = spec["network-policy"]["podSelector"]["matchLabels"]
    assert policy.items() < labels.items()
    assert policy.items() < pod_labels(JOB).items()
    assert pod_labels(JOB) != labels


@pytest.mark.parametrize("workload", [DEPLOYMENT, JOB], ids=["deployment", "job"])
def test_pod_has_no_privileges(workload: Resource) -> None:
    """The values of the Pod Security Standard `restricted`, and a root file system that is read-only."""
    assert pod(workload)["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "runAsGroup": 10001,
        "fsGroup": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert container(workload)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert (pod(workload)["automountServiceAccountToken"], pod(workload)["enableServiceLinks"]) == (False, False)


@pytest.mark.parametrize("workload", [DEPLOYMENT, JOB], ids=["deployment", "job"])
def test_secrets_are_mounted_in_the_secrets_directory(workload: Resource) -> None:
    base = yaml.safe_load((KUBERNETES / "base/kustomization.yaml").read_text())
    (generated,) = base["configMapGenerator"]
    variables = {entry["name"]: entry["value"] for entry in container(workload).get("env", ())}
    settings = variables or dict(literal.split("=") for literal in generated["literals"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container(workload)["volumeMounts"]}
    assert settings["HEXAPOST_SECRETS_DIRECTORY"] == mounts["secrets"]


def test_documented_commands_use_the_secrets_and_overlays() -> None:
    page = (ROOT / "docs/deployment.md").read_text("utf-8")
    secrets = {name: set(re.findall(r"--from-file=(\w+)", files)) for name, files in CREATE_SECRET.findall(page)}
    (endpoint,) = load(SERVICE_MONITOR)["spec"]["endpoints"]
    key = endpoint["authorization"]["credentials"]
    used = [volume["secret"]["secretName"] for workload in (DEPLOYMENT, JOB) for volume in pod(workload)["volumes"][:1]]
    assert secrets == {used[0]: SECRETS, used[1]: {DATABASE_URL}, key["name"]: {key["key"]}}
    applied = {ROOT / path for path in re.findall(r"^kubectl .* -k (\S+)$", page, re.MULTILINE)}
    assert applied == {directory for directory in OVERLAYS if directory.parent == PRODUCTION}


def test_autoscaler_respects_the_connections_of_postgres() -> None:
    spec = load(KUBERNETES / "components/autoscaling/autoscaler.yaml")["spec"]
    pods = spec["maxReplicas"] + DEPLOYMENT["spec"]["strategy"]["rollingUpdate"]["maxSurge"]
    readiness_monitor, migration = 1, 2
    assert pods * (DEFAULTS["db_pool_size"] + readiness_monitor) + migration <= POSTGRES_CONNECTIONS
    assert spec["minReplicas"] == DEPLOYMENT["spec"]["replicas"]


def test_service_monitor_has_the_values_of_the_scrape_configuration() -> None:
    (job,) = PROMETHEUS["scrape_configs"]
    spec = load(SERVICE_MONITOR)["spec"]
    (endpoint,) = spec["endpoints"]
    assert pod_labels(DEPLOYMENT)[spec["jobLabel"]] == job["job_name"]
    found = (endpoint["path"], endpoint["interval"], endpoint["scrapeTimeout"])
    assert found == (job["metrics_path"], job["scrape_interval"], job["scrape_timeout"])
