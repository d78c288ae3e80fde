"""Tests for the rejection of a request by the protocol, without a task."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import Mock

import pytest

from adapters.http.middleware.admission import AdmissionController
from tests.http.raw_connection import CHUNKED, GET, LAST, PATIENCE, POST, STATUS, RawConnection, listening
from tests.http.support import Json
from tests.http.test_admission import CAPACITY, busy
from tests.support.polling import wait_until

END = b"\r\n"
USERS = GET.replace(b"/livez", b"/api/v1/users")
CLOSE = b"Connection: close\r\n\r\n"
LONG = 2000
"""Requests of a pipeline: more than the stack of Python holds, if each of them calls the next one."""


@pytest.fixture
async def full() -> AsyncIterator[RawConnection]:
    """A server with as many requests in progress as it accepts."""
    async with full_server() as wire:
        yield wire


@asynccontextmanager
async def full_server(**options: Any) -> AsyncIterator[RawConnection]:
    async with listening(admission=AdmissionController(CAPACITY), **options) as wire, busy(wire.api):
        yield wire


class RecordedTasks(set[asyncio.Task[None]]):
    """The tasks of a connection, and the number of all that were added."""

    added = 0

    def add(self, task: asyncio.Task[None]) -> None:
        self.added += 1
        super().add(task)


async def open_recorded(wire: RawConnection) -> tuple[asyncio.StreamReader, asyncio.StreamWriter, RecordedTasks]:
    """Connect, and record the tasks of the connection."""
    reader, writer = await wire.open()
    await wait_until(lambda: bool(wire.connections))
    tasks = wire.connections[0].tasks = RecordedTasks()
    return reader, writer, tasks


async def read_status(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Return the status and the complete head of the next response. Read its body, too."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
    length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await asyncio.wait_for(reader.readexactly(length), PATIENCE)
    return STATUS.findall(head)[0], head


def event_of(wire: RawConnection) -> Json:
    return {name: wire.api.log[-1][name] for name in ("status", "route", "method", "request_id", "level")}


async def test_rejection_creates_no_task(full: RawConnection) -> None:
    reader, writer, tasks = await open_recorded(full)
    for _ in range(2):
        writer.write(USERS + b"X-Request-ID: mine\r\n\r\n")
        status, head = await read_status(reader)
        assert status == b"503"
        for header in (b"retry-after: 1", b"x-request-id: mine", b"cache-control: no-store", b"nosniff"):
            assert header in head
        assert b"connection:" not in head
        assert event_of(full) == {
            "status": 503, "route": None, "method": "GET", "request_id": "mine", "level": "ERROR"
        }  # fmt: skip
    assert tasks.added == 0
    writer.write(GET + END)
    assert (await read_status(reader))[0] == b"200"
    assert tasks.added == 1
    writer.close()


async def test_rejection_releases_the_count_of_requests(full: RawConnection) -> None:
    admission = full.api.app.state.hexapost.options.admission
    before = admission.active_requests
    await full.send_and_read(USERS + END + USERS + CLOSE)
    assert admission.active_requests == before == CAPACITY


async def test_pipelined_rejections_keep_their_order(full: RawConnection) -> None:
    """A probe is admitted, and its task has not ended when the next request arrives."""
    responses = await full.send_and_read((GET + END + USERS + END) * 3 + USERS + END + LAST)
    assert STATUS.findall(responses) == [b"200", b"503"] * 3 + [b"503", b"200"]


@pytest.mark.parametrize("first", [GET + END, USERS + END])
async def test_long_pipeline_of_rejections_is_complete(full: RawConnection, first: bytes) -> None:
    responses = await full.send_and_read(first + (USERS + END) * LONG + LAST)
    assert len(STATUS.findall(responses)) == LONG + 2
    assert {event["status"] for event in full.api.log[1:-1]} == {503}


async def test_body_of_a_rejected_request_is_skipped(full: RawConnection) -> None:
    reader, writer, tasks = await open_recorded(full)
    writer.write(POST + b"Content-Length: 60000\r\n\r\n")
    assert (await read_status(reader))[0] == b"503"
    assert tasks.added == 0
    writer.write(b"x" * 60_000 + GET + END)
    assert (await read_status(reader))[0] == b"200"
    writer.close()


@pytest.mark.parametrize(
    "sent",
    [
        USERS + CLOSE,
        USERS.replace(b"1.1", b"1.0") + END,
        USERS.replace(b"GET", b"HEAD") + CLOSE,
        CHUNKED,
        POST + CLOSE[:-2] + b"Content-Length: 9\r\n\r\n",
    ],
    ids=["close", "HTTP/1.0", "HEAD", "chunked", "incomplete body"],
)
async def test_rejection_closes_the_connection_if_required(full: RawConnection, sent: bytes) -> None:
    response = await full.send_and_read(sent)
    assert STATUS.findall(response) == [b"503"]
    assert response.count(b"connection: close\r\n") == 1
    assert response.endswith(b"\r\n\r\n") is sent.startswith(b"HEAD")
    assert len(full.api.log) == 1


async def test_rejection_of_head_has_no_body(full: RawConnection) -> None:
    response = await full.send_and_read(USERS.replace(b"GET", b"HEAD") + END + LAST)
    assert STATUS.findall(response) == [b"503", b"200"]
    assert full.api.log[0]["response_bytes"] == 0


async def test_rejection_during_shutdown_closes_the_connection(full: RawConnection) -> None:
    reader, writer = await full.open()
    await wait_until(lambda: bool(full.connections))
    full.shut_down()
    writer.write(USERS + END)
    response = await asyncio.wait_for(reader.read(), PATIENCE)
    assert STATUS.findall(response) == [b"503"]
    assert b"connection: close\r\n" in response
    writer.close()


async def test_rejection_has_a_span_and_the_headers_of_cors() -> None:
    start_span = Mock()
    start_span.return_value.trace_id = "0" * 32
    async with full_server(start_span=start_span, cors_origins=["https://example.org"]) as wire:
        start_span.reset_mock()
        reader, writer, tasks = await open_recorded(wire)
        writer.write(USERS + b"Origin: https://example.org\r\n\r\n")
        status, head = await read_status(reader)
        assert (status, tasks.added) == (b"503", 0)
        assert b"access-control-allow-origin: https://example.org\r\n" in head
        start_span.assert_called_once()
        start_span.return_value.end.assert_called_once_with(route=None, status=503)
        writer.close()
