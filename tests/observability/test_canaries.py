"""Tests that logs and responses hold no text of clients, operators or the database."""

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from sqlalchemy import URL

from adapters.clock import new_id
from adapters.testing.template_databases import Connection, connected, with_driver
from tests.cli.support import Served, create_api_key, rendered, serving, terminate_waiting
from tests.http.support import Json
from tests.observability.canaries import CANARY, HEADERS, MALFORMED, SECRETS, leaks, parts, refused, send
from tests.support.freezing_proxy import FreezingProxy, proxied

OPTIONS = {
    "HEXAPOST_LOG_LEVEL": "debug",
    "HEXAPOST_DB_RETRY_DEADLINE_SECONDS": "0",
    "HEXAPOST_API_KEY_CACHE_SECONDS": "300",
    **SECRETS,
}
TIMEOUTS = tuple(
    f"HEXAPOST_{name}_TIMEOUT_SECONDS" for name in ("DB_STATEMENT", "DB_CONNECT", "DB_POOL", "DB_ATTEMPT", "REQUEST")
)
TRIGGER = f"""
    CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE WARNING '{CANARY} warning %', NEW; RAISE EXCEPTION '{CANARY} failure %', NEW; END $$
"""

pytestmark = pytest.mark.parametrize(("driver", "log_format"), [("asyncpg", "json"), ("psycopg", "console")])


@dataclass(frozen=True)
class Trap:
    """A running service, a client that sends canaries in every request, and the error responses."""

    client: httpx.AsyncClient
    served: Served
    refusals: list[str]

    async def user(self) -> Json:
        """Create a user."""
        given = {"email": f"{CANARY}-{new_id().hex}@example.org", "full_name": f"{CANARY} name"}
        return await send(self.client, "POST", "/api/v1/users", 201, json=given)


@asynccontextmanager
async def trapped(directory: Path, url: URL, log_format: str, **limits: str) -> AsyncIterator[Trap]:
    """Run a service with canaries as secrets, and search its output and its error responses at the end.

    Without `limits`, all timeouts are long.
    """
    given = rendered(url.set(password=url.password or f"{CANARY}-password"))
    timeouts = dict.fromkeys(TIMEOUTS, "60")
    variables = {**OPTIONS, **timeouts, **limits, "DATABASE_URL": given, "HEXAPOST_LOG_FORMAT": log_format}
    key = await asyncio.to_thread(create_api_key, directory, **variables)
    refusals: list[str] = []

    async def keep(response: httpx.Response) -> None:
        if response.is_error:
            await response.aread()
            refusals.append(f"{response.headers!r}\n{response.text}")

    with serving(directory, **variables) as served:
        base = await asyncio.to_thread(served.base_url)
        async with httpx.AsyncClient(
            base_url=base,
            timeout=60,
            headers={**HEADERS, "Authorization": f"Bearer {key}"},
            event_hooks={"response": [keep]},
        ) as client:
            yield Trap(client, served, refusals)
            await send(client, "GET", "/livez", 200)
        assert await asyncio.to_thread(served.stop, signal.SIGTERM) == 0
        assert "request" in served.output
        text = "\n".join([served.output, *refusals])
        assert leaks(text, *parts(key), *([url.password] if url.password else [])) == []


async def test_rejections_and_unknown_failures_leak_nothing(
    tmp_path: Path, scratch: URL, driver: str, log_format: str
) -> None:
    database = with_driver(scratch, driver)
    async with trapped(tmp_path, database, log_format) as trap:
        client = trap.client
        for method, path, status, more in refused():
            await send(client, method, path, status, **more)
        user = await trap.user()
        await send(client, "POST", "/api/v1/users", 409, json={"email": user["email"]})
        headers = {"Idempotency-Key": f"{CANARY}-key"}
        for status, title in ((201, f"{CANARY} title"), (201, f"{CANARY} title"), (422, f"{CANARY} other")):
            body = {"author_id": user["id"], "title": title, "content": CANARY}
            await send(client, "POST", "/api/v1/posts", status, json=body, headers=headers)
        fresh = await send(client, "POST", "/api/v1/api-keys", 201, json={"name": CANARY, "scopes": ["users:read"]})
        for text in MALFORMED:
            trap.refusals.append(await asyncio.to_thread(_send_raw, client.base_url.port or 0, text))
        with connected(database) as admin:
            await _break_schema(client, admin, str(user["id"]))
            for table in ("users", "api_keys"):
                admin.execute(
                    f"CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION fail()"
                )
            # The service records the last use of the new key in the background, without a response.
            await send(client, "GET", "/api/v1/users", 200, headers={"Authorization": f"Bearer {fresh['key']}"})
            await send(client, "POST", "/api/v1/users", 500, json={"email": f"{CANARY}@b.example"})
            await send(client, "POST", "/api/v1/api-keys", 500, json={"name": CANARY, "scopes": ["posts:read"]})
    assert trap.served.output.count("request failed") == 5
    assert trap.served.output.count("ck_unknown") == 2
    assert trap.served.output.count("42703") == 2


def _send_raw(port: int, text: str) -> str:
    """Send bytes that are not a request, and return the response."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=60)) as connection:
        connection.sendall(text.encode("latin-1"))
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b"")).decode("latin-1")


async def _break_schema(client: httpx.AsyncClient, admin: Connection, user_id: str) -> None:
    """Send requests that violate an unknown constraint, or need a missing table or column."""
    admin.execute(f"ALTER TABLE users ADD CONSTRAINT ck_unknown CHECK (full_name <> '{CANARY} broken')")
    body = {"email": f"{CANARY}@a.example", "full_name": f"{CANARY} broken"}
    await send(client, "POST", "/api/v1/users", 500, json=body)
    admin.execute("ALTER TABLE users DROP CONSTRAINT ck_unknown")
    post = {"author_id": user_id, "title": f"{CANARY} title", "content": f"{CANARY} content"}
    for before, after in (
        ("posts RENAME TO gone", "gone RENAME TO posts"),
        ("posts RENAME COLUMN title TO gone", "posts RENAME COLUMN gone TO title"),
    ):
        admin.execute(f"ALTER TABLE {before}")
        await send(client, "POST", "/api/v1/posts", 500, json=post)
        admin.execute(f"ALTER TABLE {after}")
    admin.execute(TRIGGER)


@pytest.mark.drill
async def test_database_outages_leak_nothing(tmp_path: Path, scratch: URL, driver: str, log_format: str) -> None:
    database = with_driver(scratch, driver)
    limits = {"HEXAPOST_DB_STATEMENT_TIMEOUT_SECONDS": "1", "HEXAPOST_DB_CONNECT_TIMEOUT_SECONDS": "1"}
    async with proxied(database) as (url, proxy), trapped(tmp_path, url, log_format, **limits) as trap:
        user = await trap.user()
        with connected(database) as admin, admin.transaction():
            admin.execute("LOCK TABLE users")
            await _terminate_request(trap.client, admin, f"/api/v1/users/{user['id']}")
            await send(trap.client, "GET", f"/api/v1/users/{user['id']}?", 503)
        await _freeze(trap.client, proxy)


async def _terminate_request(client: httpx.AsyncClient, admin: Connection, path: str) -> None:
    """Terminate the connection of a request while it waits for a lock."""
    request = asyncio.create_task(send(client, "GET", path, 503))
    while not request.done():
        terminate_waiting(admin)
        await asyncio.sleep(0.01)
    await request


async def _freeze(client: httpx.AsyncClient, proxy: FreezingProxy) -> None:
    """Close all connections, and let new ones time out."""
    proxy.freeze()
    proxy.close()
    await send(client, "POST", "/api/v1/users", 503, json={"email": f"{CANARY}-{new_id().hex}@example.org"})
    async with asyncio.timeout(60):
        while (await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.05)
    await send(client, "GET", "/readyz", 503)
