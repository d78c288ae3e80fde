"""When there are traces: as the standard variables say, and nothing of it is loaded otherwise."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from adapters.settings import SettingsError
from adapters.telemetry import traces as module
from adapters.telemetry.traces import Traces
from adapters.telemetry.tracing import made_traces
from tests.support.waiting import LONGEST
from tests.telemetry.receivers import receiving

ROOT = Path(__file__).parents[2]
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {ENDPOINT: ""},
        {"OTEL_SERVICE_NAME": "hexapost"},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_SDK_DISABLED": "TRUE"},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_without_being_asked_for_there_are_none(environment: dict[str, str]) -> None:
    assert made_traces(environment, "1") is None


@pytest.mark.parametrize(
    "environment",
    [
        {ENDPOINT: "http://127.0.0.1:4318"},
        {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:4318/v1/traces"},
        {"OTEL_TRACES_EXPORTER": "otlp"},
        {ENDPOINT: "http://127.0.0.1:4318", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
    ],
)
async def test_an_exporter_or_an_endpoint_asks_for_them(environment: dict[str, str]) -> None:
    traces = made_traces(environment, "1")
    assert isinstance(traces, Traces)
    await traces.close()


@pytest.mark.parametrize(
    ("environment", "problem"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER: only otlp is known here"),
        (
            {ENDPOINT: "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: only http/protobuf is known here",
        ),
    ],
)
def test_what_is_not_known_stops_the_start(environment: dict[str, str], problem: str) -> None:
    with pytest.raises(SettingsError) as raised:
        made_traces(environment, "1")
    assert raised.value.problems == [problem]


def test_without_the_extra_the_start_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "adapters.telemetry.traces")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(SettingsError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT: traces need hexapost\[tracing\]"):
        made_traces({ENDPOINT: "http://127.0.0.1:4318"}, "1")


def test_nothing_of_it_is_loaded_before_it_is_asked_for() -> None:
    program = (
        "import sys; from adapters.container import Container; assert Container.traces;"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))])"
    )
    done = subprocess.run(  # noqa: S603 - our own words
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


async def test_the_service_is_named_and_the_sampler_chosen_by_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    with receiving() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
        await _one_span()
        assert receiver.resource["service.name"] == "hexapost"
        assert receiver.resource["service.version"] == "1.2.3"
        assert receiver.resource["deployment.environment.name"] == "test"
    with receiving() as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        monkeypatch.setenv("OTEL_SERVICE_NAME", "hexapost-eu")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20collector")
        await _one_span()
        assert receiver.resource["service.name"] == "hexapost-eu"
        assert receiver.headers[0]["authorization"] == "Bearer collector"
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
        await _one_span()
        assert len(receiver.requests) == 1


async def _one_span() -> None:
    traces = module.exporting_traces("1.2.3")
    traces.request("GET", []).end(route=None, status=200)
    await traces.close()


async def test_the_end_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FLUSH_SECONDS", 0.3)
    with receiving(answers=False) as receiver:
        monkeypatch.setenv(ENDPOINT, receiver.url)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "60")
        started = time.monotonic()
        await _one_span()
        assert 0.3 <= time.monotonic() - started < LONGEST
        assert receiver.asked.wait(LONGEST)
