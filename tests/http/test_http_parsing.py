"""Tests for the HTTP parser: size limits of the head, and malformed requests."""

import asyncio
from collections.abc import Iterable
from contextlib import suppress

import pytest

from adapters.http.middleware import http_protocol
from tests.http.raw_connection import CHUNKED, GET, LAST, LIMITS, PATIENCE, POST, STATUS, RawConnection
from tests.http.support import ADMIN_KEY
from tests.support.polling import wait_until


def headers(number: int) -> bytes:
    return b"".join(b"a%d: b\r\n" % index for index in range(number))


async def test_header_count_beyond_limit_returns_431(wire: RawConnection) -> None:
    assert (await wire.send_and_read(GET + headers(8) + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200")
    problem = await wire.problem(GET + headers(10) + b"\r\n")
    assert (problem["type"], wire.api.log[-1]["method"]) == ("/problems/request-header-fields-too-large", "GET")


async def test_head_size_beyond_limit_returns_431(wire: RawConnection) -> None:
    short = GET + b"Connection: close\r\na: "
    counted = len("/livez" + "hostx: \r\n" + "connectionclose: \r\n" + "a: \r\n")
    largest = b"x" * (LIMITS.max_header_bytes - counted)
    assert (await wire.send_and_read(short + largest + b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert (await wire.problem(short + largest + b"x\r\n\r\n"))["status"] == 431


@pytest.mark.parametrize(
    "pieces",
    [
        [GET + b"a: " + b"x" * 2000],
        [GET + b"a: " + b"x" * 1000, b"x" * 1000],
        [GET + b"a: ", *[b"x" * 100] * 20],
        [b"GET /" + b"x" * 2000],
        [b"GET /?" + b"x" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"],
        [GET + b"\r\n" + GET + b"a: " + b"x" * 2000 + b"\r\n\r\n"],
        [GET + b"\r\n" + GET + b"a: ", b"x" * 1000, b"x" * 1100],
        [CHUNKED + b"5\r\n{    \r\n0\r\n", b"a: " + b"x" * 1500, b"x" * 600],
        [CHUNKED + b"5;", b"x" * 1500, b"x" * 600],
        [GET + b"Connection: upgrade\r\nUpgrade: h2c\r\na: " + b"x" * 2000 + b"\r\n\r\n"],
    ],
)
async def test_head_in_pieces_beyond_limit_returns_431(wire: RawConnection, pieces: Iterable[bytes]) -> None:
    assert (await wire.problem(*pieces))["type"] == "/problems/request-header-fields-too-large"


async def test_unfinished_head_is_not_buffered(wire: RawConnection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "MAX_LINGER_BYTES", 1_000_000)
    _, writer = await wire.open()
    writer.write(GET + b"a: ")
    sent = 0
    with pytest.raises(ConnectionError):
        while sent < 64_000_000:
            writer.write(b"x" * 100_000)
            await asyncio.wait_for(writer.drain(), PATIENCE)
            sent += 100_000
    assert wire.api.log[-1]["status"] == 431
    writer.close()


async def test_bodies_and_pipelining_do_not_count_as_head(wire: RawConnection) -> None:
    body = b'{"email": "ada@example.org"' + b" " * 60_000 + b"}"
    post = POST + b"Content-Length: %d\r\n\r\n" % len(body) + body
    response = await wire.send_and_read(post + (GET + b"\r\n") * 100 + LAST)
    assert (response.count(b"HTTP/1.1 201"), response.count(b"HTTP/1.1 200")) == (1, 101)


HOSTS = [b"", b" a b", b" a/b", b" a@b", b" a:b", b" a, b"]
LINES = [b"Host: x", b"Host: y", b"a", b"a : b", b"a: b\r\n c", b"a: b\0c", b"a: b\nc: d"]
LENGTHS = [b"2\r\nContent-Length: 2", b"2\r\nContent-Length: 3", b"2, 2", b"+2", b"-2", b"9" * 23]
CODINGS = [
    *[b"xchunked", b"gzip, chunked", b"chunked, chunked", b"chunked\r\nContent-Length: 5"],
    *[b"chunked\r\nTransfer-Encoding: chunked", b"chunked\r\nTransfer-Encoding: identity"],
]
CHUNKS = [b"0x2\r\n{}\r\n0\r\n\r\n", b"2\n{}\r\n0\r\n\r\n", b"2\r\n{}X\r\n0\r\n\r\n", b"f" * 18 + b"\r\n"]


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"NONSENSE\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez\r\n\r\n",
        b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.2\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /livez HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.0\r\nHost: a b\r\n\r\n",
        *[b"GET /livez HTTP/1.1\r\nHost:%s\r\n\r\n" % host for host in HOSTS],
        *[GET + line + b"\r\n\r\n" for line in LINES],
        *[POST + b"Content-Length: %s\r\n\r\n{}" % length for length in LENGTHS],
        POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: identity\r\n\r\n{}",
        *[POST + b"Transfer-Encoding: %s\r\n\r\n0\r\n\r\n" % coding for coding in CODINGS],
        POST.replace(b"1.1", b"1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        *[CHUNKED + chunk for chunk in CHUNKS],
    ],
)
async def test_malformed_request_returns_400(wire: RawConnection, request_: bytes) -> None:
    hidden = b"GET /api/v1/users HTTP/1.1\r\nHost: x\r\n\r\n"
    response = await wire.send_and_read(request_ + hidden)
    assert len(STATUS.findall(response)) == 1
    assert wire.check(response)["type"] == "/problems/malformed-request"
    assert len(wire.api.log) == 1
    assert not {path for event in wire.api.log if (path := event["route"])}


async def test_valid_host_is_accepted_and_optional_in_http_1_0(wire: RawConnection) -> None:
    hosts = (b"x", b"x:80", b"x:", b"127.0.0.1:8000", b"[::1]:8000", b"a-b.example.", b"a_b")
    with_host = [b"GET /livez HTTP/1.1\r\nConnection: close\r\nHost: %s\r\n\r\n" % host for host in hosts]
    for request in [*with_host, b"GET /livez HTTP/1.0\r\n\r\n"]:
        assert (await wire.send_and_read(request)).startswith(b"HTTP/1.1 200"), request


async def test_malformed_head_request_keeps_its_request_id(wire: RawConnection) -> None:
    response = await wire.send_and_read(b"HEAD /livez HTTP/1.1\r\nX-Request-ID: mine\r\n\r\n")
    assert response.startswith(b"HTTP/1.1 400")
    assert response.endswith(b"\r\n\r\n")
    assert b"x-request-id: mine\r\n" in response
    assert {"method": "HEAD", "status": 400, "response_bytes": 0}.items() <= wire.api.log[-1].items()


async def test_pipelined_responses_keep_their_order(wire: RawConnection) -> None:
    response = await wire.send_and_read((GET + b"\r\n") * 3 + b"NONSENSE\r\n\r\n")
    assert STATUS.findall(response) == [b"200", b"200", b"200", b"400"]


async def test_malformed_chunk_returns_400_or_closes_connection(wire: RawConnection) -> None:
    reader, writer = await wire.open(CHUNKED)
    await wait_until(lambda: bool(wire.state.tasks))  # the route waits for the body
    writer.write(b"nonsense\r\n")
    problem = wire.check(await asyncio.wait_for(reader.read(), PATIENCE))
    assert problem["type"] == "/problems/malformed-request"
    assert wire.api.log[-1]["route"] == "/api/v1/users"
    writer.close()
    reader, writer = await wire.open(GET + b"Transfer-Encoding: chunked\r\n\r\n")
    assert (await asyncio.wait_for(reader.readuntil(b"}"), PATIENCE)).startswith(b"HTTP/1.1 200")
    writer.write(b"nonsense\r\n")
    with suppress(ConnectionResetError):  # the connection may be closed already
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
    writer.close()


async def test_trailers_are_ignored(wire: RawConnection) -> None:
    body = b'1c\r\n{"email": "ada@example.org"}\r\n0\r\nX-Request-ID: trailer\r\n\r\n'
    response = await wire.send_and_read(CHUNKED + body + LAST)
    assert response.startswith(b"HTTP/1.1 201")
    assert b"trailer" not in response


async def test_upgrade_offers_are_ignored(wire: RawConnection) -> None:
    offer = GET + b"Connection: upgrade\r\nUpgrade: h2c\r\n\r\n"
    response = await wire.send_and_read(offer * 1100 + LAST)  # more than the recursion limit
    assert response.count(b"HTTP/1.1 200 OK") == 1101


@pytest.mark.parametrize(("method", "body", "status"), [(b"GET", b"", 200), (b"POST", b'{"email": "a@b.org"}', 201)])
async def test_whitespace_around_header_values_is_ignored(
    wire: RawConnection, method: bytes, body: bytes, status: int
) -> None:
    headers = [
        b"Host: \t x \t",
        b"Authorization:\tBearer %s \t " % ADMIN_KEY.encode(),
        b"Content-Type: application/json \t",
        b"Content-Length: %d " % len(body),
        b"Connection: close ",
    ]
    request = b"\r\n".join([method + b" /api/v1/users HTTP/1.1", *headers, b"", body])
    assert (await wire.send_and_read(request)).startswith(b"HTTP/1.1 %d " % status)
