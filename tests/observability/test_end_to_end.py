"""Tests for the log and the traces of a running service."""

import signal
from pathlib import Path

from sqlalchemy import URL

from tests.cli.support import create_api_key, rendered, serving
from tests.observability.otlp_receiver import receiving

USERS = "/api/v1/users"


def test_serve_logs_and_exports_a_trace_per_request(tmp_path: Path, scratch: URL) -> None:
    settings = {"DATABASE_URL": rendered(scratch)}
    key = create_api_key(tmp_path, **settings)
    with (
        receiving() as receiver,
        serving(tmp_path, **settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as served,
    ):
        served.get(USERS, key=key).read()
        assert served.stop(signal.SIGTERM) == 0
        (line,) = served.events("request")
        assert list(line) == [
            "time", "level", "event", "request_id", "trace_id", "route", "method", "status", "duration_ms",
            "api_key_id", "response_bytes",
        ]  # fmt: skip
        spans = [span for span in receiver.spans if span.trace_id.hex() == line["trace_id"]]
        by_id = {span.span_id: span for span in spans}
        (statement,) = [span for span in spans if span.name == "SELECT users"]
        use_case = by_id[statement.parent_span_id]
        request = by_id[use_case.parent_span_id]
        assert (use_case.name, request.name) == ("UserService.list", f"GET {USERS}")
        assert request.parent_span_id == b""
        assert key.rpartition("_")[2].encode() not in b"".join(receiver.bodies)
