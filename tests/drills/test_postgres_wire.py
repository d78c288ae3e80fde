"""The parser of PostgreSQL's protocol, and the proxy with each driver over a real server."""

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import psycopg
import pytest
from sqlalchemy import URL

from tests.cli.support import queried
from tests.drills.faults.postgres_proxy import UNACKNOWLEDGED, UNASKED, PostgresProxy
from tests.drills.faults.postgres_wire import Conversation, Messages
from tests.drills.faults.proxy import HOST, running
from tests.support.databases import connected

Execute = Callable[[str], Awaitable[Any]]
LOST = (OSError, psycopg.OperationalError, asyncpg.PostgresConnectionError, asyncpg.InterfaceError)


def _message(kind: str, body: bytes) -> bytes:
    return kind.encode() + struct.pack("!i", len(body) + 4) + body


def _heard(talk: Conversation, asked: list[tuple[str, bytes]], answered: list[tuple[str, bytes]]) -> tuple[bool, bool]:
    """Return whether the conversation saw a request to store, and that something was stored."""
    first = b"".join(_message(*message) for message in asked)
    second = b"".join(_message(*message) for message in answered)
    stores = [talk.asks_to_store(message) for message in Messages().feed(first)]
    stored = [talk.has_stored(message) for message in Messages().feed(second)]
    return any(stores), any(stored)


def _query(sql: bytes) -> list[tuple[str, bytes]]:
    return [("Q", sql + b"\0")]


def _extended(sql: bytes) -> list[tuple[str, bytes]]:
    return [("P", b"s1\0" + sql + b"\0\0\0"), ("B", b"\0s1\0\0\0\0\0\0\0"), ("E", b"\0\0\0\0\0"), ("S", b"")]


def _done(status: bytes, *tags: bytes) -> list[tuple[str, bytes]]:
    return [*(("C", tag + b"\0") for tag in tags), ("Z", status)]


INSERT = b"INSERT INTO t VALUES ($1) RETURNING 1"


@pytest.mark.parametrize("size", [1, 3, 7, 1000])
def test_a_message_may_arrive_in_any_pieces(size: int) -> None:
    sent = _message("Q", b"SELECT 1\0") + _message("S", b"") + _message("Q", b"\0")
    messages = Messages()
    found = [one for start in range(0, len(sent), size) for one in messages.feed(sent[start : start + size])]
    assert [(one.type, one.body) for one in found] == [(b"Q", b"SELECT 1\0"), (b"S", b""), (b"Q", b"\0")]
    assert b"".join(one.raw for one in found) == sent


@pytest.mark.parametrize("ask", [_query, _extended])
@pytest.mark.parametrize(
    ("sql", "answer", "expected"),
    [
        (INSERT, _done(b"I", b"INSERT 0 1"), (True, True)),
        (b"update t SET a = 1", _done(b"I", b"UPDATE 2"), (True, True)),
        (b"DELETE FROM t", _done(b"I", b"DELETE 10"), (True, True)),
        (b"WITH a AS (INSERT INTO t VALUES (1) RETURNING 1) SELECT * FROM a", _done(b"I", b"SELECT 1"), (True, True)),
        (INSERT, _done(b"I", b"INSERT 0 0"), (True, False)),
        (INSERT, [("E", b"SERROR\0\0"), ("Z", b"I")], (True, False)),
        (b"SELECT 1", _done(b"I", b"SELECT 1"), (False, False)),
        (b"BEGIN", _done(b"T", b"BEGIN"), (False, False)),
        (b"BEGIN; SET LOCAL TIME ZONE 'UTC'", _done(b"T", b"BEGIN", b"SET"), (False, False)),
    ],
)
def test_a_statement_by_itself(
    ask: Callable[[bytes], list[tuple[str, bytes]]],
    sql: bytes,
    answer: list[tuple[str, bytes]],
    expected: tuple[bool, bool],
) -> None:
    assert _heard(Conversation(), ask(sql), answer) == expected


@pytest.mark.parametrize("ask", [_query, _extended])
def test_a_transaction_stores_at_its_end(ask: Callable[[bytes], list[tuple[str, bytes]]]) -> None:
    talk = Conversation()
    assert _heard(talk, ask(b"BEGIN"), _done(b"T", b"BEGIN")) == (False, False)
    assert _heard(talk, ask(INSERT), _done(b"T", b"INSERT 0 1")) == (False, False)
    assert _heard(talk, ask(b"COMMIT"), _done(b"I", b"COMMIT")) == (True, True)


def test_a_commit_of_what_failed_stores_nothing() -> None:
    talk = Conversation(status=b"E")
    assert _heard(talk, _query(b"COMMIT"), _done(b"I", b"ROLLBACK")) == (True, False)


def test_a_prepared_statement_is_known_by_its_name() -> None:
    talk = Conversation()
    prepared = [("P", b"s1\0" + INSERT + b"\0\0\0"), ("D", b"Ss1\0"), ("S", b"")]
    assert _heard(talk, prepared, [("1", b""), ("t", b"\0\0"), ("n", b""), ("Z", b"I")]) == (False, False)
    again = [("B", b"\0s1\0\0\0\0\0\0\0"), ("E", b"\0\0\0\0\0"), ("S", b"")]
    for _ in range(2):
        assert _heard(talk, again, _done(b"I", b"INSERT 0 1")) == (True, True)


def test_answers_belong_to_requests_in_turn() -> None:
    talk = Conversation()
    asked = [*_query(b"SELECT 1"), *_query(INSERT)]
    assert _heard(talk, asked, _done(b"I", b"SELECT 1")) == (True, False)
    assert _heard(talk, [], _done(b"I", b"INSERT 0 1")) == (False, True)


@asynccontextmanager
async def _connected(url: URL, driver: str) -> AsyncIterator[Execute]:
    """Connect through the proxy as libpq or asyncpg does by default: TLS is asked for first."""
    dsn = (
        url.set(drivername="postgresql")
        .difference_update_query(["ssl", "sslmode"])
        .render_as_string(hide_password=False)
    )
    if driver == "asyncpg":
        connection = await asyncpg.connect(dsn)
        try:
            yield connection.execute
        finally:
            connection.terminate()
    else:
        async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as one:
            yield lambda statement: one.execute(statement.encode())


@pytest.fixture
def proxy(empty: URL) -> Iterator[PostgresProxy]:
    with connected(empty) as connection:
        connection.execute("CREATE TABLE t (a int)")
    proxy = PostgresProxy(seed="1", server=empty)
    with running(proxy):
        yield proxy


def _rows(proxy: PostgresProxy) -> int:
    (count,) = queried(proxy.server, "SELECT count(*)::int FROM t")
    return int(count)


async def test_ordinary_traffic_passes(proxy: PostgresProxy, driver: str) -> None:
    proxy.unacknowledged = proxy.unasked = 1.0  # it is not armed
    async with _connected(proxy.url(driver), driver) as execute:
        for statement in ("INSERT INTO t VALUES (1)", "BEGIN", "INSERT INTO t VALUES (2)", "COMMIT"):
            await execute(statement)
        await execute("INSERT INTO t SELECT generate_series(1, 100000)")
        await execute("SELECT repeat('x', 1000) FROM t")
    assert await asyncio.to_thread(_rows, proxy) == 100_002
    assert not proxy.cuts


@pytest.mark.parametrize("kind", [UNACKNOWLEDGED, UNASKED])
@pytest.mark.parametrize("statements", [["INSERT INTO t VALUES (1)"], ["BEGIN", "INSERT INTO t VALUES (1)", "COMMIT"]])
async def test_a_cut_loses_the_acknowledgement_or_the_request(
    proxy: PostgresProxy, driver: str, kind: str, statements: list[str]
) -> None:
    proxy.unacknowledged, proxy.unasked = float(kind == UNACKNOWLEDGED), float(kind == UNASKED)
    with suppress(*LOST):
        async with _connected(proxy.url(driver), driver) as execute:
            proxy.armed = True
            for statement in statements[:-1]:
                await execute(statement)
            with pytest.raises(LOST):
                await execute(statements[-1])
    assert proxy.cuts == {kind: 1}
    assert await asyncio.to_thread(_rows, proxy) == (1 if kind == UNACKNOWLEDGED else 0)


async def test_a_statement_can_be_cancelled(proxy: PostgresProxy) -> None:
    async with _connected(proxy.url("asyncpg"), "asyncpg") as execute:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(execute("SELECT pg_sleep(60)"), 0.2)
        await execute("SELECT 1")


async def test_a_server_that_is_gone_ends_the_connection(empty: URL, unused_tcp_port: int) -> None:
    proxy = PostgresProxy(seed="1", server=empty.set(host=HOST, port=unused_tcp_port, query={}))
    with running(proxy), pytest.raises(LOST):
        async with _connected(proxy.url("asyncpg"), "asyncpg"):
            """It never comes to this."""
