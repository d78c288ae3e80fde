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
    enabling = [name for name in (EXPORTER_VARIABLE, *ENDPOINT_VARIABLES) if environment.get(name)]
    is_disabled = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if is_disabled or environment.get(EXPORTER_VARIABLE) == "none" or not enabling:
        return None
    for name, known in [(EXPORTER_VARIABLE, "otlp"), *((name, HTTP) for name in PROTOCOL_VARIABLES)]:
        if environment.get(name, known) not in {"", known}:
            raise SettingsError([f"{name}: only {known} is supported"])
    try:
        module = importlib.import_module("adapters.observability.tracing")
    except ModuleNotFoundError:
        raise SettingsError([f"{enabling[0]}: tracing requires hexapost[tracing]"]) from None
    tracer: Tracer = module.create_otlp_tracer(version)
    return tracer
