"""What the logs look like; each test puts the configuration of before back."""

import ast
import contextlib
import io
import json
import logging
import os
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, TextIO

import pytest
import structlog

from adapters.telemetry.logs import FIELDS, configure_logs

pytestmark = pytest.mark.usefixtures("restored_logs")
ROOT = Path(__file__).parents[2]
REQUEST = {
    "bytes": 278,
    "key_id": "019b7a2c-0000-7000-8000-000000000001",
    "duration_ms": 1.234,
    "status": 200,
    "method": "GET",
    "route": "/api/v1/users/{user_id}",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "request_id": "01a1fc264f9f70db9b64e54f97928d98",
}
LEVELS = {"debug", "info", "warning", "error", "_access_log"}
IN_ORDER = ["request_id", "trace_id", "route", "method", "status", "duration_ms", "key_id", "bytes"]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


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


def test_a_request_has_its_fields_in_order() -> None:
    stream = io.StringIO()
    configure_logs(level="info", log_format="json", stream=stream)
    structlog.get_logger("hexapost.access").info("request", **REQUEST)
    assert list(json.loads(stream.getvalue())) == ["time", "level", "event", *IN_ORDER]


def test_a_terminal_has_them_in_the_same_order() -> None:
    stream = Terminal()
    configure_logs(level="info", log_format="auto", stream=stream)
    structlog.get_logger("hexapost.access").info("request", **REQUEST)
    (line,) = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert re.findall(r"(\w+)=", line) == IN_ORDER
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[info +\] request ", line)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_field_that_is_not_listed_never_gets_out(log_format: Literal["json", "console"]) -> None:
    stream = io.StringIO()
    configure_logs(level="info", log_format=log_format, stream=stream)
    structlog.get_logger().bind(email="s3cret").info("request", path="/s3cret", status=200, headers={"x": "s3cret"})
    structlog.get_logger().error("failed", exc_info=ValueError("s3cret"), stack_info=True, extra="s3cret")
    record = logging.LogRecord("library", logging.ERROR, "s3cret.py", 1, "it failed", (), None)
    record.email = "s3cret"
    logging.getLogger().handle(record)
    assert "status" in stream.getvalue()
    assert "it failed" in stream.getvalue()
    assert "s3cret" not in stream.getvalue()


def test_of_an_exception_that_a_library_logs_the_class_is_told() -> None:
    stream = io.StringIO()
    configure_logs(level="info", log_format="json", stream=stream)
    try:
        raise json.JSONDecodeError("s3cret", "s3cret", 0)
    except ValueError:
        logging.getLogger("library").exception("it failed")
    assert json.loads(stream.getvalue())["exception"] == "json.decoder.JSONDecodeError"
    assert "s3cret" not in stream.getvalue()


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_of_what_a_library_says_only_its_own_words_are_told(log_format: Literal["json", "console"]) -> None:
    stream = io.StringIO()
    configure_logs(level="info", log_format=log_format, stream=stream)
    logger = logging.getLogger("uvicorn.error")
    logger.error("Traceback (most recent call last):\n  s3cret.py\nValueError: s3cret")
    logger.error("it failed\ns3cret")
    logger.error("%s failed\nwith %s", "s3cret", "s3cret")
    logger.error(ValueError("s3cret"))
    logger.error(OSError(98, "address already in use"))
    said = stream.getvalue()
    assert "s3cret" not in said
    assert len(said.splitlines()) == 4
    for words in ("it failed", "str failed", "builtins.ValueError", "address already in use"):
        assert words in said


def broken() -> TextIO:
    """Return a stream that nobody reads any more."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8", buffering=1)


def closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("made", [broken, closed])
@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_line_that_cannot_be_written_is_lost_and_fails_nobody(
    made: Callable[[], TextIO],
    log_format: Literal["json", "console"],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stream = Terminal()
    configure_logs(level="info", log_format=log_format, stream=stream)
    monkeypatch.setattr(sys, "stderr", gone := made())
    for name in ("write", "flush"):
        monkeypatch.setattr(stream, name, getattr(gone, name))
    for _ in range(3):
        structlog.get_logger("hexapost.access").info("request", **REQUEST)
        logging.getLogger("library").error("it failed")
    monkeypatch.undo()
    assert capfd.readouterr() == ("", "")
    with contextlib.suppress(BrokenPipeError):
        gone.close()


def test_without_a_standard_error_every_line_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    configure_logs(level="info", log_format="auto")
    structlog.get_logger().info("request", **REQUEST)
    logging.getLogger("library").error("it failed")


def test_every_field_that_the_service_logs_is_listed() -> None:
    """One that is not would be dropped without a word."""
    used = {
        keyword.arg
        for file in (ROOT / "adapters").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in LEVELS
        if call.args
        for keyword in call.keywords
    }
    assert {"request_id", "error", "traceback", "key_id"} <= used
    assert used - {None} <= set(FIELDS)
