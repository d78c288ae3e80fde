"""Canaries: unique text in requests and settings, and a search for it in logs and responses."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx

from adapters.clock import new_id
from application.api_key_tokens import format_api_key

CANARY = "c4n4ry"
"""Part of every value that must not be repeated."""
SECRETS = {
    "HEXAPOST_API_KEY_PEPPERS": (
        f"2:{CANARY}-pepper-of-thirty-two-characters,1:{CANARY}-pepper-before-this-of-thirty-two"
    ),
    "HEXAPOST_CURSOR_SECRET": f"{CANARY}-cursor-secret-of-thirty-two-characters",
}
NOBODY = "0198a3c4-6f2b-7d31-a6f0-000000000000"
_DATABASE_TEXT = (
    'relation "', 'column "', "constraint", "DETAIL", "CONTEXT", "psycopg.errors", "asyncpg.exceptions", "SELECT ",
    "INSERT INTO", "UPDATE ", "DELETE FROM", '" does not exist', "duplicate key", "violates", "terminating connection",
    "sqlalche.me", "[SQL:", "parameters:", "$1", "uq_users", "password authentication",
)  # fmt: skip
_ALLOWED = re.compile(r"asyncpg\.exceptions\.[A-Za-z_.]*Error|psycopg\.errors\.[A-Za-z]+|asyncpg/exceptions/\S+")
"""Names of error classes, which hold no message of the database."""

Json = dict[str, Any]


@dataclass(frozen=True)
class CanaryClient:
    """A client that sends canaries in every request, and keeps the error responses."""

    client: httpx.AsyncClient
    key: str
    refusals: list[str] = field(default_factory=list)

    async def send(
        self, method: str, path: str, status: int, *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        """Send a request, check the status of the response, and return it."""
        given = {**_headers(), "Authorization": f"Bearer {self.key}", **(headers or {})}
        response = await self.client.request(method, path, headers=given, **more)
        self.keep(response)
        assert response.status_code == status, (method, status, response.text)
        return response

    def keep(self, response: httpx.Response) -> None:
        """Keep an error response for the search."""
        if response.status_code >= 400:
            self.refusals.append(f"{response.headers!r}\n{response.text}")

    async def user(self, email: str = "") -> Json:
        """Create a user."""
        given = {"email": email or f"{CANARY}-{new_id().hex}@example.org", "full_name": f"{CANARY} name"}
        found: Json = (await self.send("POST", "/api/v1/users", 201, json=given)).json()
        return found


def _headers() -> dict[str, str]:
    names = (
        "User-Agent",
        "Referer",
        "Cookie",
        "X-Forwarded-For",
        "Forwarded",
        "Origin",
        "X-Anything",
        "Accept-Language",
    )
    return {name: f"{CANARY}-{name}" for name in names} | {"X-Request-ID": f"{CANARY} is not sane"}


def refused() -> Iterator[tuple[str, str, int, Json]]:
    """Yield requests that are rejected before a query other than the key lookup."""
    ours, theirs = f"/api/v1/users/{NOBODY}", f"{CANARY}@example.org"
    json_type = {"Content-Type": "application/json"}
    for path in (f"/{CANARY}", f"/api/v1/users/{CANARY}", f"/problems/{CANARY}", f"/docs/{CANARY}/..%2f{CANARY}"):
        yield "GET", path, 422 if path.startswith("/api") else 404, {}
    yield "TRACE", f"/livez?{CANARY}", 405, {}
    yield CANARY.upper(), "/livez", 400, {}
    yield "GET", ours, 404, {}
    for query in (
        f"email={CANARY}",
        f"{CANARY}-x=1",
        f"cursor={CANARY}",
        f"limit={CANARY}",
        f"email={theirs}&email={theirs}",
    ):
        yield "GET", f"/api/v1/users?{query}", 422, {}
    for body in ({"email": CANARY}, {"email": theirs, f"{CANARY}-field": 1}, {"email": theirs, "is_active": CANARY}):
        yield "POST", "/api/v1/users", 422, {"json": body}
    yield "POST", "/api/v1/posts", 422, {"json": {"author_id": NOBODY, "title": CANARY, "content": CANARY}}
    yield "POST", "/api/v1/api-keys", 422, {"json": {"name": f"{CANARY}\n", "scopes": [CANARY]}}
    for text in (f'{{"email": "{CANARY}', f'{{"{CANARY}": NaN}}', f'{{"a": "{CANARY}\\ud800"}}', "[" * 99 + CANARY):
        yield "POST", "/api/v1/users", 400, {"content": text, "headers": json_type}
    yield "POST", "/api/v1/users", 415, {"content": CANARY, "headers": {"Content-Type": f"text/{CANARY}"}}
    yield "POST", "/api/v1/users", 413, {"content": CANARY * 20_000, "headers": json_type}
    yield "GET", "/livez", 431, {"headers": {"X-Large": CANARY * 10_000}}
    for name in ("If-Match", "If-None-Match"):
        yield "PATCH" if name == "If-Match" else "GET", ours, 422 if name == "If-Match" else 404, {
            "headers": {name: f'"{CANARY}'}, **({"json": {}} if name == "If-Match" else {}),
        }  # fmt: skip
    yield "POST", "/api/v1/users", 422, {"json": {"email": theirs}, "headers": {"Idempotency-Key": f'{CANARY}"\\'}}
    for wrong in (
        CANARY,
        f"Bearer {CANARY}",
        f"Bearer {format_api_key(UUID(NOBODY), (CANARY * 8)[:32])}",
        f"Basic {CANARY}",
    ):
        yield "GET", ours, 401, {"headers": {"Authorization": wrong}}
    yield "GET", ours, 401, {"headers": {"X-API-Key": CANARY}}


MALFORMED = [
    f"GET /{CANARY}\r\n\r\n", f"{CANARY} / HTTP/1.1\r\nHost: {CANARY}\r\n\r\n",
        f"GET / HTTP/1.1\r\nHost: {CANARY} x\r\n\r\n",
    f"GET / HTTP/1.1\r\nHost: x\r\n{CANARY}\r\n\r\n", f"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: {CANARY}\r\n\r\n",
    f"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: {CANARY}\r\n\r\n", f"\x16\x03\x01{CANARY}",
    f"GET /{CANARY} HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: {CANARY}\r\n\r\n",
    f"POST /api/v1/users HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{CANARY}\r\n",
]  # fmt: skip
"""Bytes that are not HTTP/1.1."""


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
