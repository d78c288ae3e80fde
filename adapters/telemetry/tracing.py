"""Enables tracing by the standard variables of OpenTelemetry. The library is loaded only if tracing is enabled.

Sources: "OpenTelemetry Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.settings import SettingsError

if TYPE_CHECKING:
    from adapters.telemetry.traces import Traces

EXPORTER = "OTEL_TRACES_EXPORTER"
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP = "http/protobuf"


def made_traces(environment: Mapping[str, str], version: str) -> "Traces | None":
    """Return a tracer, None unless an exporter or an endpoint is set. Raises SettingsError."""
    if not is_wanted(environment):
        return None
    for name, known in [(EXPORTER, "otlp"), *((name, HTTP) for name in PROTOCOLS)]:
        if environment.get(name, known) not in {"", known}:
            raise SettingsError([f"{name}: only {known} is supported"])
    try:
        module = importlib.import_module("adapters.telemetry.traces")
    except ModuleNotFoundError:
        raise SettingsError([f"{_asked_by(environment)}: tracing requires hexapost[tracing]"]) from None
    traces: Traces = module.exporting_traces(version)
    return traces


def is_wanted(environment: Mapping[str, str]) -> bool:
    """Return True if the variables enable tracing."""
    exporter = environment.get(EXPORTER, "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return False
    return bool(exporter or any(environment.get(name) for name in ENDPOINTS))


def _asked_by(environment: Mapping[str, str]) -> str:
    return next(name for name in (EXPORTER, *ENDPOINTS) if environment.get(name))
