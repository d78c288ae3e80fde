"""Tests for clients that send after a response, and for clients that close their direction of a connection."""

import asyncio
import socket

import pytest

from adapters.http.middleware import http_protocol
from adapters.http.middleware.request_limits import RequestLimits
from tests.http.raw_connection import GET, LIMITS, PATIENCE, POST, STATUS, RawConnection, listening
from tests.http.support import ADMIN_KEY
from tests.support.polling import wait_until

BODY = b'{"email": "ada@example.org"}'
CREATE = POST + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY
LARGE = 3_000_000
"""Bytes of a body that no buffer of the kernel holds."""
DECLARED = b"Content-Length: %d\r\n\r\n" % LARGE + b"x" * LARGE
UNDECLARED = b"Transfer-Encoding: chunked\r\n\r\n" + b"%x\r\n" % LARGE + b"x" * LARGE + b"\r\n0\r\n\r\n"


async def exchange_with_half_close(wire: RawConnection, sent: bytes) -> bytes:
    """Send the data, close this direction, and return all responses."""
    reader, writer = await wire.open(sent)
    writer.write_eof()
    response = await asyncio.wait_for(reader.read(), PATIENCE)
    writer.close()
    return response


@pytest.mark.parametrize(
    ("sent", "statuses"),
    [
        (CREATE, [b"201"]),
        ((GET + b"\r\n") * 3 + CREATE, [b"200"] * 3 + [b"201"]),
        (CREATE + GET, [b"201"]),
        (GET + b"a : b\r\n\r\n", [b"400"]),
        (POST + b"Content-Length: 9\r\n\r\n{", []),
        (GET, []),
        (b"", []),
    ],
    ids=["request", "pipeline", "partial head", "malformed", "partial body", "head", "nothing"],
)
async def test_half_closed_client_gets_complete_responses(sent: bytes, statuses: list[bytes]) -> None:
    async with listening() as wire:
        assert STATUS.findall(await exchange_with_half_close(wire, sent)) == statuses
        await wait_until(lambda: not wire.state.connections and not wire.state.tasks)


async def test_half_close_in_second_body_keeps_the_first_response() -> None:
    async with listening(request=RequestLimits(body_timeout=0.1)) as wire:
        response = await exchange_with_half_close(wire, CREATE + POST + b"Content-Length: 9\r\n\r\n{")
        assert STATUS.findall(response)[0] == b"201"  # then 408, if the second request had started
        await wait_until(lambda: not wire.state.connections and not wire.state.tasks)


def upload(port: int, data: bytes) -> bytes:
    """Send all data before reading, as urllib does. Return the response."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as client:
        client.sendall(data)
        return b"".join(iter(lambda: client.recv(65536), b""))


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (POST + DECLARED, b"413"),
        (POST + UNDECLARED, b"413"),
        (POST.replace(ADMIN_KEY.encode(), b"x") + UNDECLARED, b"401"),
        (POST.replace(b"/users", b"/nothing") + UNDECLARED, b"404"),
        (POST.replace(b"application/json", b"text/plain") + UNDECLARED, b"415"),
        (GET + b"a: " + b"x" * LARGE, b"431"),
        (GET + b"a : " + b"x" * LARGE, b"400"),
        (GET + b"Connection: close\r\n" + UNDECLARED, b"200"),
    ],
    ids=["declared", "chunked", "401", "404", "415", "431", "400", "200"],
)
async def test_client_that_is_still_sending_gets_the_response(sent: bytes, status: bytes) -> None:
    async with listening(LIMITS) as wire:
        response = await asyncio.to_thread(upload, wire.port, sent)
        assert STATUS.findall(response) == [status]
        await wait_until(lambda: not wire.state.connections)


async def rejected_upload(wire: RawConnection) -> asyncio.StreamWriter:
    """Return a connection that got its response during its body, and stays open."""
    reader, writer = await wire.open(POST + DECLARED[:99])
    assert STATUS.findall(await asyncio.wait_for(reader.read(), PATIENCE)) == [b"413"]
    return writer


async def test_connection_that_stays_open_after_its_response_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_LINGER_SECONDS", 0.05)
    async with listening() as wire:
        writer = await rejected_upload(wire)
        await wait_until(lambda: not wire.state.connections)
        writer.close()


@pytest.mark.parametrize("is_draining_first", [False, True])
async def test_shutdown_closes_connection_after_its_response(
    monkeypatch: pytest.MonkeyPatch, is_draining_first: bool
) -> None:
    monkeypatch.setattr(http_protocol, "MAX_LINGER_SECONDS", 600)
    used = "BODY_DRAIN_SECONDS" if is_draining_first else "IDLE_DRAIN_SECONDS"
    for name in ("BODY_DRAIN_SECONDS", "IDLE_DRAIN_SECONDS"):
        monkeypatch.setattr(http_protocol, name, 0.2 if name == used else 600)
    async with listening() as wire:
        if is_draining_first:
            reader, writer = await wire.open()
            await wait_until(lambda: bool(wire.state.connections))
            wire.shut_down()
            writer.write(POST + DECLARED[:99])
            assert STATUS.findall(await asyncio.wait_for(reader.read(), PATIENCE)) == [b"413"]
        else:
            writer = await rejected_upload(wire)
            wire.shut_down()
        await wait_until(lambda: not wire.state.connections)
        writer.close()
