"""What the logs look like; each test puts the configuration of before back."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from adapters.telemetry.logs import configure_logs


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    before = structlog.get_config(), root.handlers[:], root.level
    yield
    structlog.configure(**before[0])
    root.handlers[:], root.level = before[1], before[2]


def test_an_event_is_a_line_of_json() -> None:
    stream = io.StringIO()
    configure_logs(level="info", log_format="auto", stream=stream)
    structlog.get_logger("any").info("request", status=200, route="/api/v1/users")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    moment = datetime.fromisoformat(event.pop("time"))
    assert event == {"event": "request", "level": "info", "status": 200, "route": "/api/v1/users"}
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60


def test_a_line_break_in_a_field_does_not_make_a_second_line() -> None:
    stream = io.StringIO()
    configure_logs(level="info", log_format="json", stream=stream)
    structlog.get_logger().info("request", route='a\n{"event": "forged"}')
    assert len(stream.getvalue().splitlines()) == 1


def test_a_terminal_gets_readable_lines() -> None:
    stream = Terminal()
    configure_logs(level="info", log_format="auto", stream=stream)
    structlog.get_logger().warning("schema is ahead")
    assert "schema is ahead" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_the_format_can_be_chosen_on_any_stream(log_format: str) -> None:
    stream = Terminal() if log_format == "json" else io.StringIO()
    configure_logs(level="info", log_format="json" if log_format == "json" else "console", stream=stream)
    structlog.get_logger().info("request")
    assert stream.getvalue().startswith("{") is (log_format == "json")


def test_what_is_below_the_level_is_left_out() -> None:
    stream = io.StringIO()
    configure_logs(level="warning", log_format="json", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_libraries_log_in_the_same_form_from_warnings_on() -> None:
    stream = io.StringIO()
    configure_logs(level="debug", log_format="json", stream=stream)
    logging.getLogger("uvicorn.error").info("chatter")
    logging.getLogger("uvicorn.error").error("address already in use")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert (event["event"], event["level"], event["logger"]) == ("address already in use", "error", "uvicorn.error")
