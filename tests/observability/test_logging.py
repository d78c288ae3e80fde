"""Tests for the format and the content of log lines."""

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
from typing import Any, Literal, TextIO

import pytest
import structlog

from adapters.observability.logging import ALLOWED_FIELDS, AccessLog, LogFormat, configure_logs, log_request

pytestmark = pytest.mark.usefixtures("restored_logs")
ROOT = Path(__file__).parents[2]
REQUEST: dict[str, Any] = {
    "response_bytes": 278,
    "api_key_id": "019b7a2c-0000-7000-8000-000000000001",
    "duration_ms": 1.234,
    "status": 200,
    "method": "GET",
    "route": "/api/v1/users/{user_id}",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "request_id": "01a1fc264f9f70db9b64e54f97928d98",
}
LEVELS = {"debug", "info", "warning", "error", "_access_log"}
IN_ORDER = ["request_id", "trace_id", "route", "method", "status", "duration_ms", "api_key_id", "response_bytes"]
FORMATS = pytest.mark.parametrize("log_format", ["json", "console"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def configured(
    log_format: LogFormat = "json", *, level: str = "info", stream: io.StringIO | None = None
) -> io.StringIO:
    """Configure the log, and return its stream."""
    stream = stream or io.StringIO()
    configure_logs(level=level, log_format=log_format, stream=stream)
    return stream


def test_log_line_is_json_in_a_fixed_order() -> None:
    stream = configured("auto")
    fields = {**REQUEST, "route": 'a\n{"event": "forged"}'}
    structlog.get_logger("hexapost.access").info("request", **fields)
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert list(event) == ["time", "level", "event", *IN_ORDER]
    moment = datetime.fromisoformat(event.pop("time"))
    assert event == {"event": "request", "level": "info", **fields}
    assert abs((datetime.now(UTC) - moment).total_seconds()) < 60


@FORMATS
@pytest.mark.parametrize("level", [logging.INFO, logging.WARNING, logging.ERROR])
@pytest.mark.parametrize("min_level", ["debug", "warning", "critical"])
def test_access_log_equals_structlog(log_format: Literal["json", "console"], level: int, min_level: str) -> None:
    stream = configured(log_format, level=min_level)
    usual = {name: REQUEST[name] for name in REQUEST if name != "trace_id"}
    special = {**usual, "request_id": '"\\', "route": 'a"\n\\\x00\u2028é', "api_key_id": None, "duration_ms": 0.0}
    failed = {**usual, "route": None, "table": "posts", "sqlstate": "23505", "unlisted": "s3cret"}
    for fields in (REQUEST, usual, special, failed):
        for log in (structlog.get_logger("hexapost.access").log, log_request):
            log(level, "request", **fields)
    times = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z")
    lines = times.sub("TIME", stream.getvalue()).split("\n")[:-1]
    assert len(lines) == (8 if level >= logging.getLevelNamesMapping()[min_level.upper()] else 0)
    assert lines[::2] == lines[1::2]
    assert all("TIME" in line for line in lines)


def test_access_log_uses_structlog_before_its_configuration() -> None:
    with structlog.testing.capture_logs() as events:
        AccessLog()(logging.WARNING, "request", **REQUEST)
    assert events == [{"event": "request", "log_level": "warning", **REQUEST}]


@FORMATS
def test_log_format_applies_to_any_stream(log_format: Literal["json", "console"]) -> None:
    stream = configured(log_format, stream=Terminal() if log_format == "json" else None)
    structlog.get_logger().info("request")
    assert stream.getvalue().startswith("{") is (log_format == "json")


def test_log_level_drops_lower_levels() -> None:
    stream = configured(level="warning")
    structlog.get_logger().info("quiet")
    structlog.get_logger().error("loud")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


def test_library_error_has_the_same_format_without_its_text() -> None:
    stream = configured(level="debug")
    logger = logging.getLogger("uvicorn.error")
    logger.info("chatter")
    try:
        raise json.JSONDecodeError("s3cret", "s3cret", 0)
    except ValueError:
        logger.exception("it failed")
    (line,) = stream.getvalue().splitlines()
    event = json.loads(line)
    assert event.pop("time")
    assert "test_logging.py" in event.pop("traceback")[-1]
    expected = {"event": "it failed", "level": "error", "logger": "uvicorn.error"}
    assert event == {**expected, "exception": "json.decoder.JSONDecodeError"}


def test_terminal_gets_readable_lines_in_the_same_order() -> None:
    stream = configured("auto", stream=Terminal())
    structlog.get_logger("hexapost.access").info("request", **REQUEST)
    (line,) = re.sub(r"\x1b\[[0-9;]*m", "", stream.getvalue()).splitlines()
    assert re.findall(r"(\w+)=", line) == IN_ORDER
    assert re.match(r"\d{4}-\d\d-\d\dT[\d:.]+Z \[info +\] request ", line)


@FORMATS
def test_unlisted_fields_are_dropped(log_format: Literal["json", "console"]) -> None:
    stream = configured(log_format)
    structlog.get_logger().bind(email="s3cret").info("request", path="/s3cret", status=200, headers={"x": "s3cret"})
    structlog.get_logger().error("failed", exc_info=ValueError("s3cret"), stack_info=True, extra="s3cret")
    record = logging.LogRecord("library", logging.ERROR, "s3cret.py", 1, "it failed", (), None)
    record.email = "s3cret"
    logging.getLogger().handle(record)
    assert "status" in stream.getvalue()
    assert "it failed" in stream.getvalue()
    assert "s3cret" not in stream.getvalue()


@FORMATS
def test_library_message_is_logged_without_values(log_format: Literal["json", "console"]) -> None:
    stream = configured(log_format)
    logger = logging.getLogger("uvicorn.error")
    logger.error("Traceback (most recent call last):\n  s3cret.py\nValueError: s3cret")
    logger.error("it failed\ns3cret")
    logger.error("%s failed\nwith %s", "s3cret", "s3cret")
    logger.error(ValueError("s3cret"))
    logger.error(OSError(98, "address already in use"))
    log = stream.getvalue()
    assert "s3cret" not in log
    assert len(log.splitlines()) == 4
    for text in ("it failed", "str failed", "builtins.ValueError", "address already in use"):
        assert text in log


def broken() -> TextIO:
    """Return a stream to a pipe without a reader."""
    reader, writer = os.pipe()
    os.close(reader)
    return os.fdopen(writer, "w", encoding="utf-8", buffering=1)


def closed() -> TextIO:
    stream = io.StringIO()
    stream.close()
    return stream


@pytest.mark.parametrize("make", [broken, closed])
@FORMATS
def test_unwritable_log_line_is_dropped_without_error(
    make: Callable[[], TextIO],
    log_format: Literal["json", "console"],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stream = configured(log_format, stream=Terminal())
    monkeypatch.setattr(sys, "stderr", unwritable := make())
    for name in ("write", "flush"):
        monkeypatch.setattr(stream, name, getattr(unwritable, name))
    for _ in range(3):
        structlog.get_logger("hexapost.access").info("request", **REQUEST)
        logging.getLogger("library").error("it failed")
    monkeypatch.undo()
    assert capfd.readouterr() == ("", "")
    with contextlib.suppress(BrokenPipeError):
        unwritable.close()


def test_log_lines_are_dropped_without_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    configure_logs(level="info", log_format="auto")
    structlog.get_logger().info("request", **REQUEST)
    logging.getLogger("library").error("it failed")


def test_every_logged_field_is_listed() -> None:
    used = {
        keyword.arg
        for file in (ROOT / "adapters").rglob("*.py")
        for call in ast.walk(ast.parse(file.read_text()))
        if isinstance(call, ast.Call)
        if getattr(call.func, "attr", getattr(call.func, "id", "")) in LEVELS
        if call.args
        for keyword in call.keywords
    }
    assert {"request_id", "error_type", "traceback", "api_key_id"} <= used
    assert used - {None} <= set(ALLOWED_FIELDS)
