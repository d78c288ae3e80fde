"""Tests for clients that send the head or the body slowly, and for clients that read responses slowly."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from unittest.mock import Mock

import pytest

from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.request_limits import RequestLimits, WriteTimeoutMonitor
from tests.http.raw_connection import (
    CHUNKED,
    GET,
    LAST,
    LIMITS,
    PATIENCE,
    POST,
    QUICK,
    STATUS,
    RawConnection,
    listening,
)
from tests.support.polling import wait_until


async def test_idle_connection_is_closed_without_a_response() -> None:
    async with listening(QUICK) as wire:
        assert await wire.send_and_read() == b""
        assert await wire.send_and_read(b"\r\n") == b""
        assert wire.api.log == []


async def test_incomplete_head_returns_408() -> None:
    async with listening(QUICK) as wire:
        for piece in (b"G", GET, GET + b"\r\n" + GET):
            assert (await wire.problem(piece))["type"] == "/problems/request-timeout"


async def test_trickling_head_returns_408() -> None:
    async with listening(QUICK) as wire:
        _, writer = await wire.open(GET + b"a: ")
        while not wire.api.log:
            writer.write(b"x")
            await asyncio.sleep(0.01)
        assert wire.api.log[-1]["status"] == 408
        writer.close()


async def test_header_timeout_ends_with_the_head() -> None:
    async with listening(replace(LIMITS, timeout=PATIENCE), keep_alive=60) as wire:
        reader, writer = await wire.open()
        for _ in range(2):
            writer.write(GET[:9])
            await wait_until(lambda: _timers(wire) == 1)
            writer.write(GET[9:] + b"\r\n")
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
            assert _timers(wire) == 0
        writer.write(LAST)
        assert b"200 OK" in await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()


def _timers(wire: RawConnection) -> int:
    """Return the number of connections with a running header timeout."""
    return sum(connection._timer is not None for connection in wire.connections)


async def test_unread_body_does_not_keep_the_connection() -> None:
    async with listening(keep_alive=0.1) as wire:
        reader, writer = await wire.open()
        writer.write(GET + b"Content-Length: 1000\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)).startswith(b"HTTP/1.1 200")
        while wire.state.connections:
            writer.write(b"x")
            await asyncio.sleep(0.01)
        writer.close()


@pytest.mark.parametrize("sent", [POST + b"Content-Length: 99\r\n\r\n{", CHUNKED + b"1\r\n{"])
async def test_stalled_body_returns_408(sent: bytes) -> None:
    async with listening(request=RequestLimits(body_timeout=0.05)) as wire:
        assert (await wire.problem(sent))["type"] == "/problems/request-timeout"


@pytest.mark.parametrize(
    ("seconds", "rest", "status"), [(0.05, b"", b"408"), (PATIENCE, b'"email": "ada@example.org"}', b"201")]
)
async def test_shutdown_waits_a_limited_time_for_a_body(
    monkeypatch: pytest.MonkeyPatch, seconds: float, rest: bytes, status: bytes
) -> None:
    monkeypatch.setattr("adapters.http.middleware.http_protocol.BODY_DRAIN_SECONDS", seconds)
    async with listening(request=RequestLimits(body_timeout=600, request_timeout=600)) as wire:
        reader, writer = await wire.open()
        writer.write(POST + b"Content-Length: 28\r\n\r\n{")
        await wait_until(lambda: bool(wire.state.tasks))
        wire.shut_down()
        writer.write(rest)
        response = await asyncio.wait_for(reader.read(), PATIENCE)
        assert STATUS.findall(response) == [status]
        if not rest:
            assert wire.check(response)["type"] == "/problems/request-timeout"
        writer.close()


DOCUMENT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n"
REST = b"\r\n"
CLOSE = b"Connection: close\r\n\r\n"
PIECE = 65_536
TIMES = 16
"""The buffers between client and server hold fewer responses."""
PIPELINED = (DOCUMENT + REST) * (TIMES - 1) + DOCUMENT + CLOSE


@contextmanager
def reader(wire: RawConnection, buffer_bytes: int = 1) -> Iterator[socket.socket]:
    """Connect with a receive buffer of this size, or the minimum of the system."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
        client.connect(("127.0.0.1", wire.port))
        client.setblocking(False)
        yield client


async def send(client: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(client, data)


async def pieces(client: socket.socket) -> AsyncIterator[bytes]:
    """Read until the server closes the connection."""
    while piece := await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, PIECE), PATIENCE):
        yield piece


@pytest.mark.parametrize("last", [REST, CLOSE])
async def test_unread_response_is_aborted_and_logged_as_499(caplog: pytest.LogCaptureFixture, last: bytes) -> None:
    async with listening(write_timeout=0.2) as wire:
        with reader(wire) as client:
            await send(client, (DOCUMENT + REST) * (TIMES - 1) + DOCUMENT + last)
            await wait_until(lambda: bool(wire.state.tasks))
            await wait_until(lambda: not wire.state.connections and not wire.state.tasks)
        *sent, final = [(event["status"], event["response_bytes"]) for event in wire.api.log]
        assert final == (499, 0)
        assert all(status == 200 and count > PIECE for status, count in sent)
    assert caplog.messages == []


async def test_unread_buffer_of_a_finished_response_is_aborted() -> None:
    async with listening(write_timeout=0.2) as wire:
        with reader(wire) as client:
            sent = 0
            while not any(one._transport.get_write_buffer_size() for one in wire.connections):
                await send(client, DOCUMENT + REST)
                sent += 1
                await wait_until(lambda: wire.state.total_requests == sent)  # noqa: B023 - called at once
            assert not wire.state.tasks
            await wait_until(lambda: not wire.state.connections)


def test_write_timeout_aborts_only_a_client_that_makes_no_progress() -> None:
    loop, transport = Mock(spec=asyncio.AbstractEventLoop), Mock(spec=asyncio.WriteTransport)
    WriteTimeoutMonitor(loop, transport, 20.0)
    for unread in (0, 0, 3, 2, 3, 1):
        transport.get_write_buffer_size.return_value = unread
        seconds, check = loop.call_later.call_args.args
        assert seconds == 10.0
        check()
    transport.abort.assert_not_called()
    check()
    transport.abort.assert_called_once_with()


async def test_unread_responses_do_not_count_toward_limit() -> None:
    admission = AdmissionController(2)
    async with listening(admission=admission, request=RequestLimits(request_timeout=600), write_timeout=600) as wire:
        with reader(wire) as one, reader(wire) as other:
            for client in (one, other):
                await send(client, (DOCUMENT + REST) * TIMES)
            await wait_until(lambda: _unread(wire) == len(wire.state.tasks) == 2)
            await wait_until(lambda: admission.active_requests == 0)
            assert (await wire.send_and_read(DOCUMENT + CLOSE)).startswith(b"HTTP/1.1 200")


async def test_request_timeout_excludes_the_time_of_reading() -> None:
    seconds = 0.01
    async with listening(request=RequestLimits(request_timeout=seconds)) as wire:
        with reader(wire, PIECE) as client:
            await send(client, PIPELINED)
            await wait_until(lambda: _unread(wire) == 1)
            await asyncio.sleep(5 * seconds)
            responses = b"".join([piece async for piece in pieces(client)])
        assert STATUS.findall(responses) == [b"200"] * TIMES
        assert {event["status"] for event in wire.api.log} == {200}


def _unread(wire: RawConnection) -> int:
    """Return the number of connections that are paused because the client does not read."""
    return sum(connection.flow.write_paused for connection in wire.connections)
