"""`hexapost serve` as it is watched: lines of requests, metrics of several processes, traces that are sent."""

import json
import signal
import time
from pathlib import Path

from sqlalchemy import URL

from adapters.telemetry.metrics import DIRECTORY
from tests.cli.support import Served, a_key, rendered, serving, wait_until
from tests.telemetry.receivers import receiving
from tests.telemetry.scrapes import Scrape

USERS = "/api/v1/users"


def lines(served: Served) -> list[dict[str, object]]:
    return [json.loads(line) for line in served.output.splitlines() if line.startswith("{")]


def scraped(served: Served, key: str) -> Scrape:
    return Scrape(served.get("/metrics", key=key).read().decode())


def test_a_request_is_a_line_with_its_trace_which_is_sent_at_the_end(tmp_path: Path, scratch: URL) -> None:
    settings = {"DATABASE_URL": rendered(scratch)}
    key = a_key(tmp_path, **settings)
    with (
        receiving() as receiver,
        serving(tmp_path, **settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as served,
    ):
        served.get(USERS, key=key).read()
        assert served.stop(signal.SIGTERM) == 0
        (line,) = lines(served)
        assert list(line) == [
            "time", "level", "event", "request_id", "trace_id", "route", "method", "status", "duration_ms", "key_id",
            "bytes",
        ]  # fmt: skip
        spans = [span for span in receiver.spans if span.trace_id.hex() == line["trace_id"]]
        by_id = {span.span_id: span for span in spans}
        (statement,) = [span for span in spans if span.name == "SELECT users"]
        use_case = by_id[statement.parent_span_id]
        request = by_id[use_case.parent_span_id]
        assert (use_case.name, request.name) == ("UserService.list", f"GET {USERS}")
        assert request.parent_span_id == b""
        assert key.rpartition("_")[2].encode() not in b"".join(receiver.bodies)


def test_a_receiver_that_does_not_answer_holds_nothing_up(tmp_path: Path, scratch: URL) -> None:
    settings = {"DATABASE_URL": rendered(scratch), "OTEL_BSP_SCHEDULE_DELAY": "50"}
    with (
        receiving(answers=False) as receiver,
        serving(tmp_path, **settings, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.url) as served,
    ):
        served.get("/livez").read()
        wait_until(receiver.asked.is_set)
        served.get("/livez").read()
        started = time.monotonic()
        assert served.stop(signal.SIGTERM) == 0
        assert time.monotonic() - started < 20


def test_what_tracing_needs_is_said_in_a_line(tmp_path: Path, scratch: URL) -> None:
    with serving(tmp_path, DATABASE_URL=rendered(scratch), OTEL_TRACES_EXPORTER="jaeger") as served:
        assert served.process.wait(60) == 2
        assert "hexapost: OTEL_TRACES_EXPORTER: only otlp is known here" in served.output.splitlines()


def test_processes_that_share_a_directory_are_shown_by_any(tmp_path: Path, scratch: URL) -> None:
    shared = tmp_path / "metrics"
    shared.mkdir()
    settings = {
        "DATABASE_URL": rendered(scratch),
        "HEXAPOST_STATE_DIRECTORY": str(tmp_path / "state"),
        DIRECTORY: str(shared),
    }
    key = a_key(tmp_path, **settings)
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    with serving(tmp_path / "one", **settings) as one, serving(tmp_path / "two", **settings) as two:
        for served in (one, one, two):
            served.get(USERS, key=key).read()
        count = "hexapost_http_requests_total"
        # Each is counted after its answer was sent.
        wait_until(lambda: scraped(one, key).total(count, route=USERS, status="200") == 3)
        wait_until(lambda: scraped(two, key).total(count, route=USERS, status="200") == 3)
        wait_until(lambda: scraped(one, key).total("hexapost_database_pool_size") == 20)
        two.process.kill()
        two.process.wait()
        found = scraped(one, key)
        assert found.total("hexapost_database_pool_size") == 10
        assert found.total(count, route=USERS, status="200") == 3
