"""Tests for the write of a response: one write for an ordinary response, uvicorn's checks for all others."""

import asyncio
import gc
import logging
import weakref
from collections.abc import AsyncIterator, Callable

import pytest
from fastapi import Response
from fastapi.responses import StreamingResponse

from adapters.http.compiled_routes import CompiledRoute
from tests.http.raw_connection import GET, LAST, PATIENCE, POST, RawConnection, listening
from tests.http.support import call, serving
from tests.support.polling import wait_until

END = b"\r\n"


async def exchange(wire: RawConnection, request: bytes, *, expected: int = 1) -> list[bytes]:
    """Send requests; return the writes of the server until this number of requests is logged."""
    writes: list[bytes] = []
    _, writer = await wire.open()
    await wait_until(lambda: bool(wire.connections))
    transport = wire.connections[0].transport
    write = transport.write

    def record(data: bytes) -> None:
        writes.append(bytes(data))
        write(data)

    transport.write = record
    writer.write(request)
    await wait_until(lambda: len(wire.api.log) >= expected and not wire.state.tasks)
    writer.close()
    return writes


async def test_ordinary_response_is_one_write(wire: RawConnection) -> None:
    (written,) = await exchange(wire, GET + END)
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert written.endswith(b'\r\n\r\n{"status":"ok"}')
    assert wire.api.log[-1]["response_bytes"] == len('{"status":"ok"}')


async def test_pipelined_responses_are_one_write_each(wire: RawConnection) -> None:
    writes = await exchange(wire, (GET + END) * 3, expected=3)
    assert [written.count(b'{"status":"ok"}') for written in writes] == [1, 1, 1]


@pytest.mark.parametrize("path", [b"/livez", b"/nowhere", b"/api/v1/users", b"/api/v1/users?limit=0"])
async def test_finished_request_is_no_cycle_of_references(wire: RawConnection, path: bytes) -> None:
    reader, writer = await wire.open()
    collected = []
    gc.disable()
    try:
        for _ in range(3):
            writer.write(POST.replace(b"POST /api/v1/users", b"GET " + path) + END)
            await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), PATIENCE)
            await wait_until(lambda: not wire.state.tasks)
            collected.append(weakref.ref(wire.connections[0].scope["state"]["request_context"]))
    finally:
        gc.enable()
    assert [reference() is None for reference in collected] == [True, True, False]
    writer.close()


@pytest.mark.parametrize("request_", [LAST, GET.replace(b"1.1", b"1.0") + END, GET.replace(b"GET", b"HEAD") + END])
async def test_other_responses_are_the_same_without_the_single_write(wire: RawConnection, request_: bytes) -> None:
    written = b"".join(await exchange(wire, request_))
    assert written.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"content-length: 15\r\n" in written
    assert written.endswith(b"\r\n\r\n" if request_.startswith(b"HEAD") else b'\r\n\r\n{"status":"ok"}')
    assert (b"connection: close" in written) is not request_.startswith(b"HEAD")


async def invalid_header() -> Response:
    return Response(headers={"x-injected": "a\r\nx-second: b"})


async def wrong_length() -> Response:
    return Response("body", headers={"content-length": "2"})


@pytest.mark.parametrize("endpoint", [invalid_header, wrong_length])
async def test_invalid_response_is_rejected_by_uvicorn(
    endpoint: Callable[[], Response], caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as wire:
        wire.api.app.router.routes.append(CompiledRoute("/invalid", endpoint))
        with caplog.at_level(logging.CRITICAL):
            written = b"".join(await exchange(wire, GET.replace(b"/livez", b"/invalid") + END))
    assert b"x-second" not in written
    assert b"body" not in written


async def streamed() -> Response:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        yield b"second"

    return StreamingResponse(pieces())


async def test_streamed_response_is_complete() -> None:
    async with listening() as wire:
        wire.api.app.router.routes.append(CompiledRoute("/stream", streamed))
        written = b"".join(await exchange(wire, GET.replace(b"/livez", b"/stream") + END))
    assert written.endswith(b"\r\n\r\n5\r\nfirst\r\n6\r\nsecond\r\n0\r\n\r\n")
    assert wire.api.log[-1]["response_bytes"] == len("firstsecond")


async def test_stream_that_fails_before_its_first_piece_returns_500() -> None:
    async def failing() -> Response:
        async def pieces() -> AsyncIterator[bytes]:
            raise RuntimeError
            yield b""

        return StreamingResponse(pieces())

    async with serving() as api:
        api.app.router.routes.append(CompiledRoute("/failing", failing))
        assert (await call(api.app, "GET", "/failing")).status_code == 500
