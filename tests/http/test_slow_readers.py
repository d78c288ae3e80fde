"""Tests for clients that read responses slowly."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from unittest.mock import Mock

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adapters.http.middleware.request_limits import AdmissionController, RequestLimits, WriteTimeoutMonitor
from tests.http.raw_connection import PATIENCE, STATUS, RawConnection, listening
from tests.support.polling import wait_until

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
            while not any(one.transport.get_write_buffer_size() for one in wire.state.connections):
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
    connections = [one for one in wire.state.connections if isinstance(one, HttpToolsProtocol)]
    return sum(connection.flow.write_paused for connection in connections)
