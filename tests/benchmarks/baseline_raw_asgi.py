"""(b) The practical limit of the platform: one ASGI callable over asyncpg.

Routed by hand, one statement for each request (two with an idempotency key), no access log, request ids, metrics or
retries; bodies are validated as far as it takes to answer these requests rightly.
"""

import json
import os
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs
from uuid import UUID

import asyncpg
import uuid_utils.compat
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

Answer = tuple[int, Any]

_GET_USER = "SELECT id, email, full_name, is_active, created_at, updated_at, version FROM users WHERE id = $1"
_LIST_POSTS = """
SELECT id, author_id, title, content, status, published_at, created_at, updated_at, version
FROM posts WHERE author_id = $1 AND id < $2 ORDER BY id DESC LIMIT $3
"""
# One round trip looks at the author, keeps the row as it is, and writes the post, which is committed when it returns.
_ADD_POST = """
INSERT INTO posts
    (id, author_id, title, content, status, published_at, created_at, updated_at, version, title_tokens, text_tokens)
SELECT $1::uuid, id, $3::text, $4::text, 'draft', NULL, $5::timestamptz, $5::timestamptz, 1,
    to_tsvector('simple', $3), to_tsvector('simple', $3 || ' ' || $4)
FROM users WHERE id = $2 AND is_active FOR SHARE
RETURNING id, author_id, title, content, status, published_at, created_at, updated_at, version
"""
_ADD_RECORD = "INSERT INTO baseline_records (key, response) VALUES ($1, $2)"
_GET_RECORD = "SELECT response FROM baseline_records WHERE key = $1"
_UPDATE_USER = """
UPDATE users SET full_name = $3, updated_at = $4, version = version + 1 WHERE id = $1 AND version = $2
RETURNING id, email, full_name, is_active, created_at, updated_at, version
"""
_SEARCH_POSTS = """
SELECT id, author_id, title, content, status, published_at, created_at, updated_at, version
FROM posts, plainto_tsquery('simple', $1) AS query WHERE text_tokens @@ query
ORDER BY title_tokens @@ query DESC, id DESC LIMIT $2
"""
_IS_USER = "SELECT true FROM users WHERE id = $1"
_USERS = "/api/v1/users/"
_POSTS = "/api/v1/posts"
_LAST_ID = UUID(int=2**128 - 1)
_ALIVE: Answer = (200, {"status": "ok"})
_NOT_FOUND: Answer = (404, {"status": 404})
_CHANGED: Answer = (412, {"status": 412})
_INVALID: Answer = (422, {"status": 422})
_INACTIVE: Answer = (409, {"status": 409})


async def _keep(_connection: asyncpg.Connection) -> None:
    """Hand a connection back as it is: no statement here changes its state, and a reset is one more round trip."""


class RawService:
    """The application and its pool."""

    _pool: asyncpg.Pool

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            status, value = await self._response(scope, receive)
        except (ValueError, KeyError, TypeError):
            status, value = _INVALID
        body = value if isinstance(value, bytes) else to_json(value)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        size = int(os.environ["POOL_SIZE"])
        dsn = os.environ["DATABASE_DSN"]
        async with asyncpg.create_pool(
            dsn, min_size=size, max_size=size, reset=_keep, server_settings={"timezone": "UTC"}
        ) as self._pool:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _response(self, scope: Scope, receive: Receive) -> Answer:
        path: str = scope["path"]
        method = scope["method"]
        if path == _POSTS:
            return await (self._add_post(scope, receive) if method == "POST" else self._list_posts(scope))
        if path.startswith(_USERS):
            user_id = UUID(path[len(_USERS) :])
            if method == "PATCH":
                return await self._update_user(user_id, scope, receive)
            user = await self._pool.fetchrow(_GET_USER, user_id)
            return (200, dict(user)) if user else _NOT_FOUND
        return _ALIVE if path == "/livez" else _NOT_FOUND

    async def _list_posts(self, scope: Scope) -> Answer:
        query = parse_qs(scope["query_string"].decode("ascii"))
        limit = int(query["limit"][0])
        if not 1 <= limit <= 100:
            return _INVALID
        if "q" in query:
            found = await self._pool.fetch(_SEARCH_POSTS, query["q"][0], limit + 1)
        else:
            after = UUID(query["cursor"][0]) if "cursor" in query else _LAST_ID
            found = await self._pool.fetch(_LIST_POSTS, UUID(query["author_id"][0]), after, limit + 1)
        items = [dict(post) for post in found[:limit]]
        return 200, {"items": items, "next_cursor": items[-1]["id"] if len(found) > limit else None}

    async def _update_user(self, user_id: UUID, scope: Scope, receive: Receive) -> Answer:
        version = int(dict(scope["headers"])[b"if-match"].strip(b'"'))
        full_name = (await _body(receive))["full_name"].strip()
        if not 1 <= len(full_name) <= 200:
            return _INVALID
        user = await self._pool.fetchrow(_UPDATE_USER, user_id, version, full_name, datetime.now(UTC))
        if user:
            return 200, dict(user)
        return _CHANGED if await self._pool.fetchval(_IS_USER, user_id) else _NOT_FOUND

    async def _add_post(self, scope: Scope, receive: Receive) -> Answer:
        body = await _body(receive)
        author_id, title, content = UUID(body["author_id"]), body["title"].strip(), body["content"].strip()
        if not (1 <= len(title) <= 200 and 1 <= len(content) <= 2000):
            return _INVALID
        values = (uuid_utils.compat.uuid7(), author_id, title, content, datetime.now(UTC))
        if key := dict(scope["headers"]).get(b"idempotency-key"):
            return await self._add_post_once(key.decode("ascii"), *values)
        post = await self._pool.fetchrow(_ADD_POST, *values)
        return (201, dict(post)) if post else await self._rejected(author_id)

    async def _add_post_once(self, key: str, post_id: UUID, author_id: UUID, *values: Any) -> Answer:
        """Store the post with the response, under the key."""
        try:
            async with self._pool.acquire() as connection, connection.transaction():
                post = await connection.fetchrow(_ADD_POST, post_id, author_id, *values)
                if post:
                    body = to_json(dict(post))
                    await connection.execute(_ADD_RECORD, key, body)
                    return 201, body
        except asyncpg.UniqueViolationError:
            return 201, await self._pool.fetchval(_GET_RECORD, key)
        return await self._rejected(author_id)

    async def _rejected(self, author_id: UUID) -> Answer:
        return _INACTIVE if await self._pool.fetchval(_IS_USER, author_id) else _INVALID


async def _body(receive: Receive) -> Any:
    body, more = b"", True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    return json.loads(body)


app = RawService()
