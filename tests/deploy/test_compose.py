"""The settings of the Compose file and its proxy, compared with those of the service."""

import re
import subprocess
from pathlib import Path
from typing import Any

import yaml

from adapters.settings import Settings, variable
from tests.deploy.checkouts import ROOT

COMPOSE = ROOT / "deploy/compose"
FILE: dict[str, Any] = yaml.safe_load((COMPOSE / "compose.yaml").read_text())
NGINX = (COMPOSE / "nginx.conf").read_text()
DEFAULTS = Settings()


def directive(name: str) -> str:
    """Return the value of a directive that appears once."""
    (value,) = re.findall(rf"^ *{name} ([^;]+);", NGINX, re.MULTILINE)
    return str(value)


def seconds(name: str) -> float:
    """Return the time of a directive."""
    return float(directive(name).removesuffix("s"))


def test_proxy_waits_longer_than_the_service() -> None:
    assert seconds("proxy_read_timeout") > max(DEFAULTS.request_timeout_seconds, DEFAULTS.export_timeout_seconds)
    assert seconds("proxy_send_timeout") > DEFAULTS.body_timeout_seconds
    assert seconds("send_timeout") >= DEFAULTS.write_timeout_seconds
    assert int(directive("client_max_body_size").removesuffix("m")) * 2**20 > DEFAULTS.max_body_bytes
    assert int(directive("large_client_header_buffers").split()[1].removesuffix("k")) * 2**10 > (
        DEFAULTS.max_header_bytes
    )


def test_proxy_repeats_no_post_and_logs_no_url() -> None:
    assert directive("proxy_next_upstream").split() == ["error", "timeout"]  # not non_idempotent
    (log_format,) = re.findall(r"log_format requests (.+?);\n", NGINX, re.DOTALL)
    names = {"time_iso8601", "upstream_http_x_request_id", "request_method", "status", "request_time"}
    assert set(re.findall(r"\$(\w+)", log_format)) == names | {"upstream_addr", "upstream_status"}
    assert directive("access_log") == "/dev/stdout requests"


def test_only_the_proxy_publishes_a_port_without_a_profile() -> None:
    published = {name: service["ports"] for name, service in FILE["services"].items() if "ports" in service}
    assert all(port.startswith("127.0.0.1:") for ports in published.values() for port in ports)
    assert [name for name in published if not FILE["services"][name].get("profiles")] == ["proxy"]


def test_create_secrets_writes_each_secret_once(tmp_path: Path) -> None:
    script = tmp_path / "create-secrets.sh"
    script.write_text((COMPOSE / "create-secrets.sh").read_text())
    subprocess.run(["sh", script], check=True)  # noqa: S603, S607
    written = {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()}
    assert written.keys() == FILE["secrets"].keys() - {"prometheus_key"}
    assert (tmp_path / "secrets").stat().st_mode & 0o777 == 0o700
    settings = {variable(name) for name in Settings.model_fields}
    assert set(FILE["services"]["migrate"]["secrets"]) == written.keys() & settings
    assert written["hexapost_password"] in written["DATABASE_URL"]
    assert subprocess.run(["sh", script], check=False, capture_output=True).returncode != 0  # noqa: S603, S607
    assert {file.name: file.read_text() for file in (tmp_path / "secrets").iterdir()} == written


def test_prometheus_of_compose_differs_only_in_key_and_targets() -> None:
    ours, general = (
        yaml.safe_load(path.read_text())
        for path in (COMPOSE / "prometheus.yml", ROOT / "deploy/prometheus/prometheus.yml")
    )
    for configuration in (ours, general):
        (job,) = configuration["scrape_configs"]
        for part in ("authorization", "static_configs", "dns_sd_configs"):
            job.pop(part, None)
    assert ours == general
