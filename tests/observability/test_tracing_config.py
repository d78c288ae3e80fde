"""Tests for the environment variables that enable traces."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.observability import tracing as module
from adapters.observability.tracing import Tracer
from adapters.observability.tracing_config import create_tracer
from adapters.settings import SettingsError
from tests.observability.otlp_receiver import receiving
from tests.support.polling import TIMEOUT_SECONDS

ROOT = Path(__file__).parents[2]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
URL = "http://127.0.0.1:4318"


@pytest.mark.parametrize(
    ("environment", "is_enabled"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({"OTEL_SERVICE_NAME": "hexapost"}, False),
        ({ENDPOINT: URL, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({ENDPOINT: URL, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({ENDPOINT: URL}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": f"{URL}/v1/traces"}, True),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({ENDPOINT: URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
    ],
)
async def test_traces_are_enabled_by_endpoint_or_exporter(environment: dict[str, str], is_enabled: bool) -> None:
    traces = create_tracer(environment, "1")
    assert isinstance(traces, Tracer) is is_enabled
    if traces is not None:
        await traces.close()


@pytest.mark.parametrize(
    ("name", "value", "supported"),
    [("OTEL_TRACES_EXPORTER", "zipkin", "otlp"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf")],
)
def test_unknown_trace_exporter_or_protocol_raises(name: str, value: str, supported: str) -> None:
    with pytest.raises(SettingsError) as raised:
        create_tracer({ENDPOINT: URL, name: value}, "1")
    assert raised.value.errors == [f"{name}: only {supported} is supported"]


def test_traces_without_extra_raise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "adapters.observability.tracing")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: tracing requires hexapost\[tracing\]"):
        create_tracer({ENDPOINT: URL}, "1")


def test_container_import_does_not_load_opentelemetry_sdk() -> None:
    program = (
        "import sys; from adapters.container import Container; assert Container.tracer;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


async def test_otel_variables_set_service_name_headers_and_sampler(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        await _export_one_span()
        assert receiver.resource["service.name"] == "hexapost"
        assert receiver.resource["service.version"] == "1.2.3"
        assert receiver.resource["deployment.environment.name"] == "test"
        receiver.requests.clear()
        monkeypatch.setenv("OTEL_SERVICE_NAME", "hexapost-eu")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector")
        await _export_one_span()
        assert receiver.resource["service.name"] == "hexapost-eu"
        assert receiver.headers[-1]["authorization"] == "Bearer collector"
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        await _export_one_span()
        assert len(receiver.requests) == 1


async def _export_one_span() -> None:
    traces = module.create_otlp_tracer("1.2.3")
    traces.start_request_span("GET", []).end(route=None, status=200)
    await traces.close()


async def test_close_stops_waiting_for_unresponsive_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_TIMEOUT_SECONDS", 0.05)
    with receiving(answers=False) as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
        started = time.monotonic()
        await _export_one_span()
        assert time.monotonic() - started < TIMEOUT_SECONDS
        assert receiver.asked.wait(TIMEOUT_SECONDS)
