"""The application over storage in memory, and checks of its responses."""

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any, NoReturn
from uuid import UUID

import httpx
from fastapi import FastAPI
from starlette.types import Message

from adapters.clock import new_id
from adapters.http.app import create_app
from adapters.http.dependencies import ComponentStatus, HttpOptions, UseCases
from adapters.http.middleware.request_limits import RequestLimits
from adapters.memory.unit_of_work import InMemoryStorage
from application.api_key_tokens import format_api_key, generate_secret
from application.audit import AuditService
from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.ports import Storage
from application.transactions import RetryPolicy
from application.user_export import UserExportService
from domain.api_keys import Scope
from tests.http.openapi_document import check_documented
from tests.support.factories import make_api_key, store_api_keys
from tests.support.service_factories import PEPPERS, START, authenticator, key_service, post_service, user_service

SECRET = b"a secret of thirty-two characters"
NOBODY = "0198a3c4-6f2b-7d31-a6f0-000000000000"
ADA = {"email": "ada@example.org", "full_name": "Ada Lovelace"}

ADMIN_ID = UUID("0198a3c7-2b51-7e04-8d3a-94c1f0b27e58")
ADMIN_KEY = format_api_key(ADMIN_ID, "0" * 32)
"""An API key with all scopes, stored in each application of these tests."""

AUTHORIZATION = (b"authorization", f"Bearer {ADMIN_KEY}".encode())
JSON_TYPE = (b"content-type", b"application/json")
CHUNKED = (b"transfer-encoding", b"chunked")

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Api:
    """An application, a client with the admin key, and the access log."""

    app: FastAPI
    client: httpx.AsyncClient
    storage: Storage
    log: list[Json]
    components: dict[str, ComponentStatus] = field(default_factory=dict)

    async def user(self, **fields: Any) -> Json:
        """Create a user."""
        return await self._create("users", {**ADA, **fields})

    async def post(self, author: Json, **fields: Any) -> Json:
        """Create a post."""
        body = {"author_id": author["id"], "title": "Notes", "content": "On the engine.", **fields}
        return await self._create("posts", body)

    async def key(self, *scopes: Scope, **fields: Any) -> str:
        """Create an API key and return its text."""
        return str((await self._create("api-keys", {"name": "a key", "scopes": scopes, **fields}))["key"])

    async def _create(self, resource: str, body: Json) -> Json:
        response = await self.client.post(f"/api/v1/{resource}", json=body)
        assert response.status_code == 201, response.text
        created: Json = response.json()
        return created

    @asynccontextmanager
    async def over(self, storage: Storage) -> AsyncIterator["Api"]:
        """Use the application over another storage, with an empty log: an application takes long to build."""
        self.log.clear()
        self.components.clear()
        services = await _services(storage, self.components)
        self.app.state.hexapost.use_cases = services
        yield replace(self, storage=storage)
        await services.authenticator.close()


async def _services(storage: Storage, components: dict[str, ComponentStatus]) -> UseCases:
    """Store the admin key and return the use cases; a `FailingStorage` does not contain the API keys."""
    keys = InMemoryStorage() if isinstance(storage, FailingStorage) else storage
    await stored_key(keys, text=ADMIN_KEY, name="admin", created_at=START, last_used_at=None)
    components["database"] = ComponentStatus(ready=True, detail="reachable")

    async def readiness() -> Mapping[str, ComponentStatus]:
        return components

    retry = RetryPolicy(max_elapsed=0)
    verifier = authenticator(keys, retry=retry)
    return UseCases(
        users=user_service(storage, retry=retry),
        posts=post_service(storage, retry=retry),
        api_keys=key_service(storage, retry=retry, authenticator=verifier),
        user_export=UserExportService(storage, retry),
        audit=AuditService(storage=storage, retry=retry),
        authenticator=verifier,
        readiness=readiness,
    )


@asynccontextmanager
async def serving(
    storage: Storage | None = None, *, secret: bytes = SECRET, limits: RequestLimits | None = None, **options: Any
) -> AsyncIterator[Api]:
    """Create an application over the storage, or over a new one in memory."""
    storage = storage or InMemoryStorage()
    components: dict[str, ComponentStatus] = {}
    log: list[Json] = []

    def write(level: int, event: str, /, **fields: object) -> None:
        log.append({"level": logging.getLevelName(level), "event": event, **fields})

    services = await _services(storage, components)
    chosen = HttpOptions(
        version=version("hexapost"),
        cursor_secret=secret,
        limits=limits or RequestLimits(),
        access_log=write,
        **options,
    )
    app = create_app(services, chosen)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    client = httpx.AsyncClient(
        transport=transport,
        base_url="http://hexapost.test",
        headers=headers,
        event_hooks={"response": [check_documented]},
    )
    async with app.router.lifespan_context(app), client:
        yield Api(app=app, client=client, storage=storage, log=log, components=components)
    await services.authenticator.close()


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries the API key."""
    return {"Authorization": f"Bearer {key}"}


def once(name: str, key: str | None = None) -> dict[str, str]:
    """Return the headers of a request with an idempotency key, and with an API key if it is given."""
    return {"Idempotency-Key": name, **({} if key is None else bearer(key))}


async def stored_key(storage: Storage, *scopes: Scope, text: str = "", **fields: Any) -> str:
    """Store an API key with these scopes, or with all of them, and return its text."""
    text = text or format_api_key(new_id(), generate_secret())
    fields = {"expires_at": None, **fields, "id": UUID(hex=text.split("_")[1]), "secret_hash": PEPPERS.hash(text)}
    await store_api_keys(storage, make_api_key(scopes=frozenset(scopes or Scope), **fields))
    return text


class FailingStorage(InMemoryStorage):
    """Raises the same error at the start of each unit of work."""

    def __init__(self, make: Callable[[], Exception]) -> None:
        super().__init__()
        self._make = make

    def transaction(self, actor: Principal = SYSTEM_PRINCIPAL) -> NoReturn:  # noqa: ARG002 - an interface
        raise self._make()

    def readonly(self) -> NoReturn:
        raise self._make()

    snapshot = readonly


def check_problem(response: httpx.Response, status: int, code: str, root_path: str = "") -> Json:
    """Check the parts that all problem responses have, and return the problem."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["cache-control"] == "no-store"
    problem: Json = response.json()
    assert problem["type"] == f"{root_path}/problems/{code}"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    assert problem["request_id"] == response.headers["x-request-id"]
    assert problem["instance"] == f"urn:hexapost:request:{problem['request_id']}"
    return problem


def findings(response: httpx.Response) -> list[tuple[str | None, str]]:
    """Check that the response is a validation problem; return the location and code of each error."""
    problem = check_problem(response, 422, "validation-failed")
    for error in problem.get("errors", []):
        assert error["detail"]
    return [(error.get("pointer", error.get("parameter")), error["code"]) for error in problem.get("errors", [])]


def response_of(messages: Sequence[Message]) -> httpx.Response:
    """Return the response in these ASGI messages, which its extensions contain. Without messages its status is 0."""
    start, *rest = messages or [{"status": 0, "headers": []}]
    content = b"".join(message.get("body", b"") for message in rest)
    return httpx.Response(
        start["status"], headers=start["headers"], content=content, extensions={"messages": list(messages)}
    )


async def call(
    app: FastAPI,
    method: str,
    path: str,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
    query: bytes = b"",
    received: Sequence[Message] = ({"type": "http.request", "body": b"", "more_body": False},),
    key: str | None = ADMIN_KEY,
    **scope: Any,
) -> httpx.Response:
    """Call the application as a server does; `received` are the messages of the client, `scope` replaces values."""
    authorization = [] if key is None else [(b"authorization", f"Bearer {key}".encode())]
    waiting = list(received)
    sent: list[Message] = []

    async def receive() -> Message:
        return waiting.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope_of(method, path, headers=[*headers, *authorization], query=query) | scope, receive, send)
    return response_of(sent)


def scope_of(method: str, path: str, *, headers: Sequence[tuple[bytes, bytes]], query: bytes = b"") -> Json:
    """Return the ASGI scope of a request."""
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "query_string": query,
        "headers": list(headers),
        "client": ("127.0.0.1", 50_000),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
