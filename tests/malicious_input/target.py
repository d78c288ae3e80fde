"""The application over PostgreSQL, with stored rows that are restored after each change."""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from psycopg.sql import SQL, Composed, Identifier

from adapters.testing.template_databases import Connection
from tests.http.support import Api, call, serving
from tests.malicious_input.injection_points import Request
from tests.support.database_fixture import DatabaseFixture

Rows = frozenset[tuple[str, str]]
"""All rows of all tables, as pairs of table name and text."""

_TABLES = """
    SELECT table_name FROM information_schema.tables
    WHERE table_schema = 'public' AND table_name <> 'alembic_version' ORDER BY table_name
"""
_UNSTEADY = "last_used_at"
"""A column that the service writes in the background."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The application under test; `sound` maps names of parameters and fields to valid values."""

    api: Api
    sound: Mapping[str, str]
    admin: Connection
    tables: tuple[str, ...]
    before: Mapping[str, str]
    stored: Rows

    async def send(self, request: Request, *, with_key: bool = True) -> httpx.Response:
        """Send a request, with the admin key."""
        message = {"type": "http.request", "body": request.body, "more_body": False}
        more = {} if with_key else {"key": None}
        return await call(
            self.api.app,
            request.method,
            request.path,
            headers=request.headers,
            query=request.query,
            received=[message, {"type": "http.disconnect"}],
            **more,
        )

    def changes(self) -> dict[str, int]:
        """Return the number of added and removed rows for each table; an updated row counts as both."""
        return Counter(table for table, _ in _rows(self.admin, self.tables) ^ self.stored)

    def restore(self) -> None:
        """Restore the initial rows, in one round trip."""
        insert = SQL("; INSERT INTO {0} SELECT * FROM jsonb_populate_recordset(NULL::{0}, {1}::jsonb)")
        inserts = [
            insert.format(Identifier(name), self.before[name])
            for name in ("users", "posts", "api_keys", "audit_entries")
        ]
        self.admin.execute(
            SQL("DELETE FROM idempotency_records; DELETE FROM audit_entries; DELETE FROM erasure_receipts")
            + SQL("; DELETE FROM users; DELETE FROM api_keys")
            + Composed(inserts)
        )


@asynccontextmanager
async def target(store: DatabaseFixture) -> AsyncIterator[Target]:
    """Serve the database with a user, a post and an API key in it."""
    async with serving(store.storage) as api:
        user = await api.user(email="sound@example.org")
        post = await api.post(user)
        key = (await api.client.post("/api/v1/api-keys", json={"name": "sound", "scopes": ["posts:read"]})).json()
        tables = tuple(str(name) for (name,) in store.admin.execute(_TABLES).fetchall())
        before = {table: _dumped(store.admin, table) for table in tables}
        sound = {"user_id": user["id"], "author_id": user["id"], "post_id": post["id"], "key_id": key["id"]}
        stored = _rows(store.admin, tables)
        yield Target(api=api, sound=sound, admin=store.admin, tables=tables, before=before, stored=stored)


def _rows(admin: Connection, tables: Iterable[str]) -> Rows:
    each = [
        SQL("SELECT {}, (to_jsonb(t) - {})::text FROM {} t").format(table, _UNSTEADY, Identifier(table))
        for table in tables
    ]
    found = admin.execute(SQL(" UNION ALL ").join(each)).fetchall()
    return frozenset((str(table), str(row)) for table, row in found)


def _dumped(admin: Connection, table: str) -> str:
    statement = SQL("SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]')::text FROM {} t").format(Identifier(table))
    (found,) = admin.execute(statement).fetchone() or ("[]",)
    return str(found)
