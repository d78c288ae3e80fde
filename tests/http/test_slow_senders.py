"""Tests for clients that send the head or the body slowly."""

import asyncio
from dataclasses import replace

import pytest

from adapters.http.middleware.http_protocol import BoundedHttpProtocol
from adapters.http.middleware.request_limits import RequestLimits
from tests.http.raw_connection import CHUNKED, GET, LAST, LIMITS, PATIENCE, POST, QUICK, RawConnection, listening
from tests.support.polling import wait_until

INCOMPLETE = POST + b"Content-Length: 99\r\n\r\n{"


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
    connections = [one for one in wire.state.connections if isinstance(one, BoundedHttpProtocol)]
    return sum(connection._timer is not None for connection in connections)


async def test_unread_body_does_not_keep_the_connection() -> None:
    async with listening(keep_alive=0.1) as wire:
        reader, writer = await wire.open()
        writer.write(GET + b"Content-Length: 1000\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)).startswith(b"HTTP/1.1 200")
        while wire.state.connections:
            writer.write(b"x")
            await asyncio.sleep(0.01)
        writer.close()


@pytest.mark.parametrize("sent", [INCOMPLETE, CHUNKED + b"1\r\n{"])
async def test_stalled_body_returns_408(sent: bytes) -> None:
    async with listening(request=RequestLimits(body_timeout=0.05)) as wire:
        assert (await wire.problem(sent))["type"] == "/problems/request-timeout"


async def test_shutdown_returns_408_for_a_stalled_body(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.http.middleware.http_protocol.BODY_DRAIN_SECONDS", 0.05)
    async with listening(request=RequestLimits(body_timeout=600, request_timeout=600)) as wire:
        reader, writer = await wire.open()
        writer.write(INCOMPLETE)
        await wait_until(lambda: bool(wire.state.tasks))
        wire.shut_down()
        problem = wire.check(await asyncio.wait_for(reader.read(), PATIENCE))
        assert problem["type"] == "/problems/request-timeout"
        writer.close()


async def test_shutdown_waits_for_the_rest_of_a_body(monkeypatch: pytest.MonkeyPatch, wire: RawConnection) -> None:
    monkeypatch.setattr("adapters.http.middleware.http_protocol.BODY_DRAIN_SECONDS", PATIENCE)
    reader, writer = await wire.open()
    writer.write(POST + b"Content-Length: 28\r\n\r\n{")
    await wait_until(lambda: bool(wire.state.tasks))
    wire.shut_down()
    writer.write(b'"email": "ada@example.org"}')
    assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 201")
    writer.close()
