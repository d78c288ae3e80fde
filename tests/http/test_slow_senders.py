"""Heads and bodies that do not come, or not to their end."""

import asyncio
from dataclasses import replace

import pytest

from adapters.http.limits import RequestLimits
from tests.http.wires import CHUNKED, GET, LAST, LIMITS, PATIENCE, POST, QUICK, Wire, listening
from tests.support.waiting import until


async def test_a_connection_on_which_nothing_comes_is_closed_in_silence() -> None:
    async with listening(QUICK) as wire:
        assert await wire.said() == b""
        assert await wire.said(b"\r\n") == b""
        assert wire.api.log == []


@pytest.mark.parametrize("piece", [b"G", GET, GET + b"\r\n" + GET])
async def test_a_head_that_does_not_come_to_its_end(piece: bytes) -> None:
    async with listening(QUICK) as wire:
        assert (await wire.problem(piece))["type"] == "/problems/request-timeout"


async def test_a_head_that_trickles() -> None:
    async with listening(QUICK) as wire:
        _, writer = await wire.open(GET + b"a: ")
        while not wire.api.log:
            writer.write(b"x")
            await asyncio.sleep(0.01)
        assert wire.api.log[-1]["status"] == 408
        writer.close()


async def test_the_time_of_a_head_ends_with_it() -> None:
    async with listening(replace(LIMITS, timeout=3), keep_alive=60) as wire:
        reader, writer = await wire.open()
        for _ in range(2):
            writer.write(GET[:9])
            await asyncio.sleep(0.01)
            writer.write(GET[9:] + b"\r\n")
            assert b"200 OK" in await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)
        await asyncio.sleep(3.1)
        writer.write(LAST)
        assert b"200 OK" in await asyncio.wait_for(reader.read(), PATIENCE)
        writer.close()


async def test_a_body_that_nobody_reads_does_not_hold_the_connection() -> None:
    async with listening() as wire:
        reader, writer = await wire.open()
        writer.write(GET + b"Content-Length: 1000\r\n\r\n")
        assert (await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)).startswith(b"HTTP/1.1 200")
        while wire.state.connections:
            writer.write(b"x")
            await asyncio.sleep(0.05)
        writer.close()


async def test_a_body_that_stops_is_answered_and_the_connection_ends() -> None:
    async with listening(request=RequestLimits(body_timeout=0.1)) as wire:
        assert (await wire.problem(POST + b"Content-Length: 99\r\n\r\n{"))["type"] == "/problems/request-timeout"
        assert (await wire.problem(CHUNKED + b"1\r\n{"))["type"] == "/problems/request-timeout"


async def test_a_body_that_stops_does_not_hold_up_the_end_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.http.protocol.GRACE_SECONDS", 0.05)
    async with listening(request=RequestLimits(body_timeout=600, request_timeout=600)) as wire:
        reader, writer = await wire.open()
        writer.write(POST + b"Content-Length: 99\r\n\r\n{")
        await until(lambda: bool(wire.state.tasks))
        for connection in list(wire.state.connections):
            connection.shutdown()
        problem = wire.check(await asyncio.wait_for(reader.read(), PATIENCE))
        assert problem["type"] == "/problems/request-timeout"
        writer.close()


async def test_a_body_may_come_to_its_end_while_the_server_ends(wire: Wire) -> None:
    reader, writer = await wire.open()
    writer.write(POST + b"Content-Length: 28\r\n\r\n{")
    await until(lambda: bool(wire.state.tasks))
    for connection in list(wire.state.connections):
        connection.shutdown()
    writer.write(b'"email": "ada@example.org"}')
    assert (await asyncio.wait_for(reader.read(), PATIENCE)).startswith(b"HTTP/1.1 201")
    writer.close()
