"""Canaries: unique text in requests and settings, and a search for it in logs and responses."""

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx

from application.api_key_tokens import format_api_key
from tests.http.support import NOBODY, Json

CANARY = "c4n4ry"
"""Part of every value that must not be repeated."""
SECRETS = {
    "HEXAPOST_API_KEY_PEPPERS": (
        f"2:{CANARY}-pepper-of-thirty-two-characters,1:{CANARY}-pepper-before-this-of-thirty-two"
    ),
    "HEXAPOST_CURSOR_SECRET": f"{CANARY}-cursor-secret-of-thirty-two-characters",
}
HEADERS = {
    **{name: f"{CANARY}-{name}" for name in ("User-Agent", "Referer", "Cookie", "X-Forwarded-For", "Forwarded")},
    **{name: f"{CANARY}-{name}" for name in ("Origin", "X-Anything", "Accept-Language")},
    "X-Request-ID": f"{CANARY} is not sane",
}
_DATABASE_TEXT = (
    'relation "', 'column "', 'constraint "', "DETAIL", "CONTEXT", "psycopg.errors", "asyncpg.exceptions", "SELECT ",
    "INSERT INTO", "UPDATE ", "DELETE FROM", '" does not exist', "duplicate key", "violates", "terminating connection",
    "sqlalche.me", "[SQL:", "parameters:", "$1", "uq_users", "password authentication",
)  # fmt: skip
_ALLOWED = re.compile(r"asyncpg\.exceptions\.[A-Za-z_.]*Error|psycopg\.errors\.[A-Za-z]+|asyncpg/exceptions/\S+")
"""Names of error classes, which hold no message of the database."""


async def send(client: httpx.AsyncClient, method: str, path: str, status: int, **more: Any) -> Json:
    """Send a request, check the status of the response, and return its JSON."""
    response = await client.request(method, path, **more)
    assert response.status_code == status, (method, status, response.text)
    return dict(response.json()) if response.content else {}


def refused() -> Iterator[tuple[str, str, int, Json]]:
    """Yield requests that are rejected before a query other than the key lookup."""
    users, theirs = "/api/v1/users", f"{CANARY}@example.org"
    ours = f"{users}/{NOBODY}"
    json_type = {"Content-Type": "application/json"}
    for path in (f"/{CANARY}", f"/problems/{CANARY}", f"/docs/{CANARY}/..%2f{CANARY}", ours):
        yield "GET", path, 404, {}
    yield "TRACE", f"/livez?{CANARY}", 405, {}
    yield CANARY.upper(), "/livez", 400, {}
    for suffix in ("/", "?email=", f"?{CANARY}-x=", "?cursor=", "?limit=", f"?email={theirs}&email="):
        yield "GET", f"{users}{suffix}{CANARY}", 422, {}
    for path, body in (
        (users, {"email": CANARY}),
        (users, {"email": theirs, f"{CANARY}-field": 1}),
        (users, {"email": theirs, "is_active": CANARY}),
        ("/api/v1/posts", {"author_id": NOBODY, "title": CANARY, "content": CANARY}),
        ("/api/v1/api-keys", {"name": f"{CANARY}\n", "scopes": [CANARY]}),
    ):
        yield "POST", path, 422, {"json": body}
    yield "POST", users, 422, {"json": {"email": theirs}, "headers": {"Idempotency-Key": f'{CANARY}"\\'}}
    for text in (f'{{"email": "{CANARY}', f'{{"{CANARY}": NaN}}', f'{{"a": "{CANARY}\\ud800"}}', "[" * 99 + CANARY):
        yield "POST", users, 400, {"content": text, "headers": json_type}
    yield "POST", users, 415, {"content": CANARY, "headers": {"Content-Type": f"text/{CANARY}"}}
    yield "POST", users, 413, {"content": CANARY * 20_000, "headers": json_type}
    yield "GET", "/livez", 431, {"headers": {"X-Large": CANARY * 10_000}}
    yield "PATCH", ours, 422, {"json": {}, "headers": {"If-Match": f'"{CANARY}'}}
    forged = format_api_key(UUID(NOBODY), (CANARY * 8)[:32])
    for wrong in (CANARY, f"Bearer {CANARY}", f"Bearer {forged}", f"Basic {CANARY}"):
        yield "GET", ours, 401, {"headers": {"Authorization": wrong}}
    yield "GET", ours, 401, {"headers": {"X-API-Key": f"hexa_{CANARY}"}}


MALFORMED = [
    *[f"GET /{CANARY}\r\n\r\n", f"{CANARY} / HTTP/1.1\r\nHost: {CANARY}\r\n\r\n", f"\x16\x03\x01{CANARY}"],
    *[
        f"GET / HTTP/1.1\r\nHost: x{line}\r\n\r\n"
        for line in (f" {CANARY}", f"\r\n{CANARY}", f"\r\nContent-Length: {CANARY}", f"\r\nTransfer-Encoding: {CANARY}")
    ],
    f"GET /{CANARY} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: {CANARY}\r\n\r\n",
    f"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n",
]
"""Requests that are malformed or ask for an upgrade."""


def leaks(text: str, *secrets: str) -> list[str]:
    """Return the forbidden parts of a text, each with its context."""
    searched = _ALLOWED.sub("", text)
    found = [
        re.search(rf".{{0,200}}{re.escape(word)}.{{0,80}}", searched) for word in (CANARY, *secrets, *_DATABASE_TEXT)
    ]
    return [match[0] for match in found if match]


def parts(key: str) -> list[str]:
    """Return the parts of an API key that must stay secret."""
    return [key, key.rsplit("_", 1)[1], key.rsplit("_", 1)[1][:32], json.dumps(key)]
