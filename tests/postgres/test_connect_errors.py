"""Tests for the reasons of failed connections: they contain the host and the SQLSTATE, but no text of the server."""

import asyncio
import re
import socket
from asyncio import StreamReader, StreamWriter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.sql import SQL, Identifier
from sqlalchemy import URL

from adapters.database_url import parse_database_url
from adapters.postgres.connect_errors import ConnectError
from adapters.postgres.connector import Connector
from adapters.testing.template_databases import connected, with_driver
from tests.support.database_roles import Role, temporary_role
from tests.support.freezing_proxy import proxied
from tests.support.polling import TIMEOUT_SECONDS

WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "role": ({"username": "s3cret"}, "role unknown or not allowed by pg_hba.conf (SQLSTATE 28000)"),
    "database": ({"database": "s3cret"}, "database does not exist (SQLSTATE 3D000)"),
    "port": ({"port": 1}, "connection refused"),
    "tls": ({"query": {"sslmode": "require"}}, "server does not support TLS"),
}

REJECTIONS = {
    ("28P01", 'password authentication failed for user "s3cret"'): "wrong user or password (SQLSTATE 28P01)",
    ("42704", 'unrecognized configuration parameter "s3cret"'): "options has an unknown setting (SQLSTATE 42704)",
    ("22023", 'invalid value for parameter "role": "s3cret"'): "options has an invalid value (SQLSTATE 22023)",
    ("55000", 'database "s3cret" is not currently accepting connections'): (
        "database accepts no connections (SQLSTATE 55000)"
    ),
    ("57P03", "the database system is starting up"): "server is starting or stopping (SQLSTATE 57P03)",
    ("08P01", "unsupported startup parameter: s3cret"): (
        "the pooler requires HEXAPOST_DB_PREPARED_STATEMENTS=false (SQLSTATE 08P01)"
    ),
}


@pytest.fixture
def role(scratch: URL) -> Iterator[Role]:
    with temporary_role(scratch) as made:
        yield made


async def _connect_error(url: URL) -> ConnectError:
    with pytest.raises(ConnectError) as raised:
        await Connector(url, connect_timeout=TIMEOUT_SECONDS).connect()
    return raised.value


async def _error_of_server(serve: Callable[[StreamReader, StreamWriter], Awaitable[None]], url: str) -> ConnectError:
    """Return the error of a connection to a server that handles it so. The URL needs no port."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    error = await _connect_error(parse_database_url(url).set(port=server.sockets[0].getsockname()[1]))
    server.close()
    return error


@pytest.mark.parametrize("wrong", WRONG)
async def test_connect_error_has_address_and_reason(role: Role, driver: str, wrong: str) -> None:
    async with proxied(role.url) as (url, _):
        changes, reason = WRONG[wrong]
        changed = with_driver(url.set(**changes), driver)
        error = await _connect_error(changed)
    assert str(error) == f"cannot connect to PostgreSQL at 127.0.0.1:{changed.port}: {reason}"
    assert error.reason == reason


@pytest.mark.parametrize(("rejection", "reason"), REJECTIONS.items(), ids=[state for state, _ in REJECTIONS])
async def test_connect_error_has_sqlstate(driver: str, rejection: tuple[str, str], reason: str) -> None:
    state, message = rejection
    fields = f"SFATAL\0VFATAL\0C{state}\0M{message}\0\0".encode()

    async def reject(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read(4096)
        writer.write(b"E" + (len(fields) + 4).to_bytes(4, "big") + fields)
        writer.close()

    error = await _error_of_server(reject, f"postgresql+{driver}://a:s3cret@127.0.0.1/x?sslmode=disable")
    assert (error.reason, error.sqlstate) == (reason, state)
    assert "s3cret" not in f"{error!r} {error.args}"


async def test_connect_error_names_each_host(driver: str) -> None:
    error = await _connect_error(parse_database_url(f"postgresql+{driver}://127.0.0.1:1,127.0.0.1:2/x"))
    assert str(error).endswith("at 127.0.0.1:1: connection refused; 127.0.0.1:2: connection refused")


async def test_connect_error_names_unknown_host(driver: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    error = await _connect_error(parse_database_url(f"postgresql+{driver}://db.invalid/x"))
    assert str(error) == "cannot connect to PostgreSQL at db.invalid:5432: unknown host"


async def test_connect_error_names_missing_grant(role: Role, scratch: URL, driver: str) -> None:
    with connected(scratch) as admin:
        admin.execute(SQL("REVOKE CONNECT ON DATABASE {} FROM public").format(Identifier(str(scratch.database))))
    error = await _connect_error(with_driver(role.url, driver))
    assert (error.reason, error.sqlstate) == ("missing privilege CONNECT on the database (SQLSTATE 42501)", "42501")


async def test_connect_error_names_connection_limit(role: Role, driver: str) -> None:
    role.limit(0)
    error = await _connect_error(with_driver(role.url, driver))
    assert (error.reason, error.sqlstate) == ("too many connections (SQLSTATE 53300)", "53300")


@pytest.mark.parametrize("content", ["", "s3cret"])
async def test_connect_error_names_invalid_ca_file(driver: str, content: str, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text(content, encoding="utf-8")

    async def accept_tls(reader: StreamReader, writer: StreamWriter) -> None:
        await reader.read(8)
        writer.write(b"S")
        await reader.read()
        writer.close()

    url = f"postgresql+{driver}://127.0.0.1/x?sslmode=verify-full&sslrootcert={file}"
    error = await _error_of_server(accept_tls, url)
    assert error.reason == "a TLS file is missing or invalid: sslrootcert, sslcert, sslkey or sslcrl"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("s3cret", "failed (OSError)"),
        ('connection to server at "resolver.recovery.unreachable" failed: Connection refused', "connection refused"),
        ("channel binding required, but server does not support it", "server does not support channel binding"),
    ],
)
async def test_connect_error_hides_text(driver: str, text: str, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(**_: object) -> None:
        raise OSError(text)

    connector = Connector(parse_database_url(f"postgresql+{driver}://a/x"), connect_timeout=TIMEOUT_SECONDS)
    monkeypatch.setattr(connector.driver, "connect", fail)
    with pytest.raises(ConnectError, match=re.escape(f"a:5432: {reason}")):
        await connector.connect()
