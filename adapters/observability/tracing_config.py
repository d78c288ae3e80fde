"""Enables tracing by the standard variables of OpenTelemetry. The library is loaded only if tracing is enabled.

Sources: "OpenTelemetry Environment Variable Specification" and "OpenTelemetry Protocol Exporter".
"""

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

from adapters.settings import SettingsError

if TYPE_CHECKING:
    from adapters.observability.tracing import Tracer

EXPORTER_VARIABLE = "OTEL_TRACES_EXPORTER"
ENDPOINT_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOL_VARIABLES = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
HTTP = "http/protobuf"


def create_tracer(environment: Mapping[str, str], version: str) -> "Tracer | None":
    """Return a tracer, None unless an exporter or an endpoint is set. Raises SettingsError."""
    if not is_enabled(environment):
        return None
    for name, known in [(EXPORTER_VARIABLE, "otlp"), *((name, HTTP) for name in PROTOCOL_VARIABLES)]:
        if environment.get(name, known) not in {"", known}:
            raise SettingsError([f"{name}: only {known} is supported"])
    try:
        module = importlib.import_module("adapters.observability.tracing")
    except ModuleNotFoundError:
        raise SettingsError([f"{_enabling_variable(environment)}: tracing requires hexapost[tracing]"]) from None
    tracer: Tracer = module.create_otlp_tracer(version)
    return tracer


def is_enabled(environment: Mapping[str, str]) -> bool:
    """Return True if the variables enable tracing."""
    exporter = environment.get(EXPORTER_VARIABLE, "")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or exporter == "none":
        return False
    return bool(exporter or any(environment.get(name) for name in ENDPOINT_VARIABLES))


def _enabling_variable(environment: Mapping[str, str]) -> str:
    return next(name for name in (EXPORTER_VARIABLE, *ENDPOINT_VARIABLES) if environment.get(name))
