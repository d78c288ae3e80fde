"""Log configuration: one event per line, as JSON or as text. An allow-list limits the fields."""

import atexit
import copy
import logging
import re
import sys
import time
from collections.abc import Mapping, MutableMapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Literal, TextIO, cast

import structlog
from pydantic_core import to_json
from structlog.typing import EventDict, Processor

from adapters.exception_summary import exception_types, traceback_locations
from adapters.observability.nonblocking_stream import FLUSH_TIMEOUT_SECONDS, NonBlockingStream

_TEXT_BEFORE_VALUES = re.compile(r"[^\n(<{]*")

LogFormat = Literal["auto", "json", "console"]

ALLOWED_FIELDS = (
    "time", "level", "logger", "event", "request_id", "trace_id", "route", "method", "status", "duration_ms",
    "api_key_id", "response_bytes", "pid", "exit_status", "dropped_lines", "reason", "error_type", "sqlstate",
    "table", "constraint", "exception", "traceback",
)  # fmt: skip
"""The allowed fields in order. Clients control only the request ID and the trace ID."""


def _allow_listed(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Return the allowed fields of an event."""
    return {name: event[name] for name in ALLOWED_FIELDS if name in event}


def _json(event: Mapping[str, object], **_: object) -> str:
    # Twice as fast as the standard library, for one line per request.
    return to_json(event, fallback=str).decode()


class _LibraryFormatter(structlog.stdlib.ProcessorFormatter):
    """Formats records of libraries without their values, which may contain input or database text."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of a record."""
        plain = copy.copy(record)
        if isinstance(record.msg, Exception):
            plain.msg = getattr(record.msg, "strerror", None) or exception_types(record.msg)
        if isinstance(record.args, tuple):
            plain.args = tuple(arg if isinstance(arg, int | float) else type(arg).__name__ for arg in record.args)
        elif record.args:
            plain.args = None
        if record.name == "asyncio":
            message = _TEXT_BEFORE_VALUES.findall(record.getMessage())[0].rstrip()
        else:
            message = plain.getMessage()
        plain.msg, plain.args = message.partition("\n")[0], None
        return super().format(plain)


def _is_not_raw_traceback(record: logging.LogRecord) -> bool:
    """Return False for records that are raw tracebacks; the application has already logged a redacted version."""
    return not str(record.msg).startswith("Traceback ")


def _without_values(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Replace an error by its type and its location."""
    error = (event.pop("exc_info", None) or (None, None))[1]
    event.pop("stack_info", None)
    if error is not None:
        event.update(exception=exception_types(error), traceback=traceback_locations(error))
    return event


_LEVEL_NAMES = {level: logging.getLevelName(level).lower() for level in (logging.INFO, logging.WARNING, logging.ERROR)}
_REQUEST_FIELDS = ("request_id", "route", "method", "status", "duration_ms", "api_key_id", "response_bytes")


@lru_cache(1024)
def _request_members(level: int, event: str, route: str | None, method: str, status: int) -> tuple[str, str]:
    """Return the members of a JSON object before and after the request ID. Few combinations occur."""
    before = to_json({"level": _LEVEL_NAMES[level], "event": event})
    after = to_json({"route": route, "method": method, "status": status})
    return before.decode()[1:-1], after.decode()[1:-1]


@lru_cache(1024)
def _quote(text: str | None) -> str:
    """Return JSON of the ID of an API key."""
    return to_json(text).decode()


class AccessLog:
    """Logs requests as `structlog.get_logger().log` does, but formats the usual ones as JSON with a template.

    `configure_logs` sets the stream and the level. Until then, and for other formats than JSON, structlog logs. Lines
    below ERROR can wait.
    """

    def __init__(self) -> None:
        self.lines: NonBlockingStream | None = None
        self.min_level = logging.INFO
        self._second = -1
        self._prefix = ""

    def __call__(
        self,
        level: int,
        event: str,
        *,
        request_id: str,
        route: str | None,
        method: str,
        status: int,
        duration_ms: float,
        api_key_id: str | None,
        response_bytes: int,
        **rare: object,
    ) -> None:
        """Log a request. The fields after the template are rare, such as those of traces and database errors."""
        values = (request_id, route, method, status, duration_ms, api_key_id, response_bytes)
        if self.lines is None or rare:
            fields = dict(zip(_REQUEST_FIELDS, values, strict=True))
            structlog.get_logger("hexapost.access").log(level, event, **fields, **rare)
        elif level >= self.min_level:
            kind, target = _request_members(level, event, route, method, status)
            quoted_id = f'"{request_id}"' if request_id.isalnum() else to_json(request_id).decode()
            self.lines.write(
                f'{{"time":"{self._utc_now()}",{kind},"request_id":{quoted_id},{target},"duration_ms":{duration_ms},'
                f'"api_key_id":{_quote(api_key_id)},"response_bytes":{response_bytes}}}\n',
                can_wait=level < logging.ERROR,
            )

    def _utc_now(self) -> str:
        """Return the current time as ISO 8601. The part up to the seconds is formatted once per second."""
        now = time.time()
        if int(now) != self._second:
            self._second = int(now)
            self._prefix = datetime.fromtimestamp(self._second, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
        return f"{self._prefix}{int((now - self._second) * 1_000_000):06d}Z"

    def drain(self) -> None:
        """Write all waiting lines. Give up after FLUSH_TIMEOUT_SECONDS, if the reader of the log stalls."""
        if self.lines is not None:
            self.lines.drain(FLUSH_TIMEOUT_SECONDS)


log_request = AccessLog()
"""The access log of this process."""


def configure_logs(*, level: str, log_format: LogFormat, stream: TextIO | None = None) -> None:
    """Send the events of structlog and of the standard library to the stream, by default to standard error.

    Lines that cannot be written are dropped. Their number is logged after the stream is writable again.
    """
    target: TextIO | NonBlockingStream | None = stream or sys.stderr
    lines = target if isinstance(target, NonBlockingStream) else NonBlockingStream(target)
    lines.on_dropped = lambda number: structlog.get_logger("hexapost").error("log lines dropped", dropped_lines=number)
    on_terminal = lines.isatty()
    readable = log_format == "console" or (log_format == "auto" and on_terminal)
    min_level = logging.getLevelNamesMapping()[level.upper()]
    log_request.lines, log_request.min_level = None if readable else lines, min_level
    if stream is None:
        atexit.register(lines.close, FLUSH_TIMEOUT_SECONDS)
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
    ]
    renderer: list[Processor] = [
        _allow_listed,
        structlog.dev.ConsoleRenderer(colors=on_terminal, timestamp_key="time", sort_keys=False, pad_event_to=0)
        if readable
        else structlog.processors.JSONRenderer(serializer=_json),
    ]
    structlog.configure(
        processors=[*shared, *renderer],
        wrapper_class=structlog.make_filtering_bound_logger(min_level),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", lines)),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(lines)
    handler.addFilter(_is_not_raw_traceback)
    handler.setFormatter(
        _LibraryFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, _without_values],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderer],
        )
    )
    logging.basicConfig(level=max(min_level, logging.WARNING), handlers=[handler], force=True)
