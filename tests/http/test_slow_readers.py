"""Clients that do not read what they are sent."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from adapters.http.admission import Admission
from adapters.http.limits import RequestLimits
from tests.http.wires import PATIENCE, STATUS, Wire, listening
from tests.support.waiting import until

DOCUMENT = b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n"
REST = b"\r\n"
CLOSE = b"Connection: close\r\n\r\n"
PIECE = 65_536
TIMES = 40
"""As often the document is more than the buffers between the two ends hold."""


@contextmanager
def reader(wire: Wire, room: int = 1) -> Iterator[socket.socket]:
    """Connect with so many octets of room for what comes in, or the least there can be."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        client.connect(("127.0.0.1", wire.port))
        client.setblocking(False)
        yield client


@pytest.mark.parametrize("last", [REST, CLOSE])
async def test_a_client_that_does_not_read_is_cut_off(last: bytes) -> None:
    async with listening(send_timeout=0.2) as wire:
        with reader(wire) as client:
            await asyncio.get_running_loop().sock_sendall(client, (DOCUMENT + REST) * (TIMES - 1) + DOCUMENT + last)
            await until(lambda: bool(wire.state.tasks))
            await until(lambda: not wire.state.connections and not wire.state.tasks)


async def test_what_is_left_of_a_response_that_is_complete_is_not_kept_for_ever() -> None:
    async with listening(send_timeout=0.2) as wire:
        with reader(wire) as client:
            loop = asyncio.get_running_loop()
            sent = 0
            while not any(one.transport.get_write_buffer_size() for one in wire.state.connections):
                await loop.sock_sendall(client, DOCUMENT + REST)
                sent += 1
                await until(lambda: wire.state.total_requests == sent)  # noqa: B023 - called at once
            assert not wire.state.tasks
            await until(lambda: not wire.state.connections)


async def test_a_client_that_reads_slowly_gets_all() -> None:
    async with listening(send_timeout=2) as wire:
        with reader(wire, PIECE) as client:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, (DOCUMENT + REST) * (TIMES - 1) + DOCUMENT + CLOSE)
            started, answers = loop.time(), bytearray()
            while piece := await asyncio.wait_for(loop.sock_recv(client, PIECE), PATIENCE):
                answers += piece
                await asyncio.sleep(0.01)
            assert loop.time() - started > 2
        assert STATUS.findall(bytes(answers)) == [b"200"] * TIMES


async def test_clients_that_do_not_read_take_no_room() -> None:
    admission = Admission(2)
    async with listening(admission=admission, request=RequestLimits(request_timeout=600), send_timeout=600) as wire:
        with reader(wire) as one, reader(wire) as other:
            for client in (one, other):
                await asyncio.get_running_loop().sock_sendall(client, (DOCUMENT + REST) * TIMES)
            await until(lambda: _unread(wire) == len(wire.state.tasks) == 2)
            await until(lambda: admission.in_work == 0)
            assert (await wire.said(DOCUMENT + CLOSE)).startswith(b"HTTP/1.1 200")


async def test_the_time_that_a_client_takes_to_read_is_not_that_of_the_answer() -> None:
    seconds = 0.01
    async with listening(request=RequestLimits(request_timeout=seconds)) as wire:
        with reader(wire, PIECE) as client:
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(client, (DOCUMENT + REST) * (TIMES - 1) + DOCUMENT + CLOSE)
            await until(lambda: _unread(wire) == 1)
            await asyncio.sleep(5 * seconds)
            answers = bytearray()
            while piece := await asyncio.wait_for(loop.sock_recv(client, PIECE), PATIENCE):
                answers += piece
        assert STATUS.findall(bytes(answers)) == [b"200"] * TIMES
        assert {event["status"] for event in wire.api.log} == {200}


async def test_an_answer_that_never_went_out_is_not_written_down_as_one(caplog: pytest.LogCaptureFixture) -> None:
    async with listening(send_timeout=0.2) as wire:
        with reader(wire) as client:
            await asyncio.get_running_loop().sock_sendall(client, (DOCUMENT + REST) * TIMES)
            await until(lambda: bool(wire.state.tasks))
            await until(lambda: not wire.state.connections and not wire.state.tasks)
        *sent, last = [(event["status"], event["bytes"]) for event in wire.api.log]
        assert last == (499, 0)
        assert all(status == 200 and count > PIECE for status, count in sent)
    assert caplog.messages == []


def _unread(wire: Wire) -> int:
    """Return how many connections take no more, because nothing is read from them."""
    connections = [one for one in wire.state.connections if isinstance(one, HttpToolsProtocol)]
    return sum(connection.flow.write_paused for connection in connections)
