"""Tests for the headers, request ids, failures and log records that all responses have."""

import re
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
import pytest
import structlog
from fastapi import Response
from starlette.responses import StreamingResponse

from adapters.http.dependencies import ComponentStatus
from adapters.http.problems.catalog import COMMIT_RESULT_UNKNOWN
from application.ports import (
    CommitFailedError,
    CommitResultUnknownError,
    CommitResultUnresolvableError,
    ConcurrentUpdateError,
    StorageBusyError,
    StorageFailedError,
    StorageUnavailableError,
    TransientStorageError,
)
from domain.api_keys import Scope
from tests.http.support import ADA, ADMIN_ID, NOBODY, Api, FailingStorage, call, check_problem, scope_of, serving

SECRET_TEXT = "duplicate key (ada@example.org)"  # noqa: S105 - it must not come out
PRIVATE, REVALIDATED, SHORT = "private, no-cache", "public, no-cache", "public, max-age=3600"


@pytest.mark.parametrize(
    ("method", "path", "status", "caching"),
    [
        ("GET", "/livez", 200, "no-store"),
        ("GET", "/readyz", 200, "no-store"),
        ("GET", "/docs", 200, REVALIDATED),
        ("GET", "/openapi.json", 200, REVALIDATED),
        ("GET", "/problems/not-found", 200, SHORT),
        ("GET", "/", 200, REVALIDATED),
        ("GET", "/api/v1/users", 200, PRIVATE),
        ("POST", "/api/v1/users", 201, "no-store"),
        ("DELETE", "/api/v1/users/x", 422, "no-store"),
        ("GET", f"/api/v1/posts/{NOBODY}", 404, "no-store"),
        ("GET", "/nowhere", 404, "no-store"),
        ("PUT", "/api/v1/users", 405, "no-store"),
    ],
)
async def test_response_has_standard_headers(api: Api, method: str, path: str, status: int, caching: str) -> None:
    given = await api.client.request(method, path, json=ADA, headers={"x-request-id": "given.by-Caller_1"})
    assert given.status_code == status
    assert given.headers["x-request-id"] == "given.by-Caller_1"
    assert given.headers.get_list("x-content-type-options") == ["nosniff"]
    assert given.headers.get_list("cache-control") == [caching]


@pytest.mark.parametrize("unsafe", ["", "a b", "a" * 129, "é", "a\tb", "<b>", "a/b", "x\n"])
async def test_unsafe_request_id_is_replaced(api: Api, unsafe: str) -> None:
    headers = [(b"x-request-id", unsafe.encode())]
    ids = [(await call(api.app, "GET", "/nowhere", headers=headers)).headers["x-request-id"] for _ in range(3)]
    assert [event["request_id"] for event in api.log] == ids
    assert len(set(ids)) == 3
    assert all(re.fullmatch(r"[0-9a-f]{12}7[0-9a-f]{19}", id_) for id_ in ids)


@pytest.mark.parametrize(
    "path",
    [
        "/livez", "/readyz", "/docs", "/docs/", "/openapi.json", "/problems", "/problems/not-found", "/",
        "/docs/assets/favicon.png", "/api/v1/users", "/api/v1/users/?limit=1", "/api/v1/posts", "/nowhere",
        "/api/v1/users/x", f"/api/v1/users/{NOBODY}/", "{user}", "{user}/", "{post}", "{key}",
    ],
)  # fmt: skip
async def test_head_returns_the_headers_of_get(api: Api, path: str) -> None:
    user = await api.user()
    post = await api.post(user)
    key = (await api.key(Scope.USERS_READ)).split("_")[1]
    path = path.format(
        user=f"/api/v1/users/{user['id']}", post=f"/api/v1/posts/{post['id']}", key=f"/api/v1/api-keys/{UUID(key)}"
    )
    headers = {"x-request-id": "one", "accept-encoding": "identity"}
    get, head = await api.client.get(path, headers=headers), await api.client.head(path, headers=headers)
    assert head.status_code == get.status_code
    assert head.headers == get.headers
    assert head.content == b""
    plain, _, query = path.partition("?")
    assert (await call(api.app, "HEAD", plain, query=query.encode())).content == b""
    assert int(head.headers["content-length"]) == len(get.content)
    assert [event["method"] for event in api.log[-3:]] == ["GET", "HEAD", "HEAD"]
    assert [event["response_bytes"] for event in api.log[-3:]] == [len(get.content), 0, 0]


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        *[(f"/api/v1/{path}", "GET, HEAD, POST") for path in ("users", "users/", "posts")],
        *[(f"/api/v1/{path}", "DELETE, GET, HEAD, PATCH") for path in (f"users/{NOBODY}", f"posts/{NOBODY}/")],
        (f"/api/v1/api-keys/{NOBODY}", "DELETE, GET, HEAD"),
        *[(path, "GET, HEAD") for path in ("/livez", "/docs", "/problems/not-found", "/")],
    ],
)
async def test_unsupported_method_returns_405(api: Api, path: str, allowed: str) -> None:
    for method in ("PUT", "OPTIONS", "TRACE", "QUERY", "get"):
        response = await call(api.app, method, path)
        check_problem(response, 405, "method-not-allowed")
        assert response.headers["allow"] == allowed
        assert api.log[-1]["method"] == (method if method in {"PUT", "OPTIONS", "TRACE"} else "other")


async def test_head_returns_405_where_get_is_unsupported() -> None:
    async def created() -> None:
        """Return an empty response."""

    async with serving() as api:
        api.app.add_api_route("/only-post", created, methods=["POST"])
        for method in ("GET", "HEAD"):
            response = await call(api.app, method, "/only-post")
            assert (response.status_code, response.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    "path",
    [
        *["/nowhere", "/api", "/api/v1", "/api/v1/users//", "/api/v1/users/a/b", "/api/v2/users", "/redoc"],
        *["/\udcff", "/\0", "/\udced\udca0\udc80", "/problems/a\0b", "/docs/assets/\udcff\0"],
        *["/problems/{0.__class__}", "/docs/assets/" + "a" * 5000],
    ],
)
async def test_unknown_path_returns_404(api: Api, path: str) -> None:
    check_problem(await call(api.app, "GET", path), 404, "not-found")
    routes = {"/problems": "/problems/{code}", "/docs/assets": "/docs/assets/{name}"}
    assert api.log[-1]["route"] == routes.get(path.rpartition("/")[0])


@pytest.mark.parametrize(
    ("error", "code", "seconds"),
    [
        (StorageUnavailableError, "database-unavailable", "5"),
        (StorageBusyError, "overloaded", "1"),
        (ConcurrentUpdateError, "overloaded", "1"),
        (TransientStorageError, "overloaded", "1"),
        (CommitResultUnknownError, "database-unavailable", "5"),
        (CommitFailedError, "database-unavailable", "5"),
        (StorageFailedError, "database-unavailable", "5"),
        (CommitResultUnresolvableError, "database-unavailable", "5"),
    ],
)
async def test_storage_failure_returns_503(api: Api, error: type[Exception], code: str, seconds: str) -> None:
    async with api.over(FailingStorage(lambda: error(SECRET_TEXT))):
        for response in await every_operation(api):
            problem = check_problem(response, 503, code)
            is_unknown = error in {CommitFailedError, CommitResultUnknownError, CommitResultUnresolvableError}
            assert (problem["detail"] == COMMIT_RESULT_UNKNOWN) is is_unknown
            assert response.headers["retry-after"] == seconds
            assert "ada@" not in response.text


def caused_error() -> Exception:
    error = RuntimeError(SECRET_TEXT)
    error.__cause__ = KeyError(SECRET_TEXT)
    return error


async def test_unexpected_error_returns_500_without_its_text(api: Api) -> None:
    async with api.over(FailingStorage(caused_error)):
        with structlog.testing.capture_logs() as events:
            responses = await every_operation(api)
    for response, event in zip(responses, events, strict=True):
        check_problem(response, 500, "internal-error")
        assert "ada@" not in response.text
        assert event["log_level"] == "error"
        assert event["request_id"] == response.headers["x-request-id"]
        assert event["exception"] == "builtins.RuntimeError from builtins.KeyError"
        assert "support.py" in event["traceback"][-1]
    assert "ada@" not in repr(events)


@pytest.mark.parametrize(
    ("path", "status", "level"),
    [
        ("/livez", 200, "INFO"),
        ("/nowhere", 404, "WARNING"),
        ("/api/v1/users/x", 422, "WARNING"),
        ("/readyz", 503, "ERROR"),
    ],
)
async def test_level_of_access_log_follows_the_status(api: Api, path: str, status: int, level: str) -> None:
    api.components["database"] = ComponentStatus(ready=False, detail="unreachable")
    assert (await api.client.get(path)).status_code == status
    assert [(event["status"], event["level"]) for event in api.log] == [(status, level)]


class StatementError(Exception):
    """A driver error. Only a server with a hostile schema sends such a name of a constraint."""

    sqlstate = "23514"
    table_name = "users"
    constraint_name = f"{SECRET_TEXT}\n"


@pytest.mark.parametrize(("error", "status"), [(StorageBusyError, 503), (RuntimeError, 500)])
async def test_server_error_is_logged_with_sqlstate_and_table(api: Api, error: type[Exception], status: int) -> None:
    def make_error() -> Exception:
        failure = error(SECRET_TEXT)
        failure.__cause__ = StatementError(SECRET_TEXT)
        return failure

    async with api.over(FailingStorage(make_error)):
        with structlog.testing.capture_logs() as events:
            assert (await api.client.get("/api/v1/users")).status_code == status
    logged = [*events, *api.log]
    assert len(logged) == (2 if status == 500 else 1)
    for event in logged:
        assert (event["sqlstate"], event["table"]) == ("23514", "users")
        assert "constraint" not in event
    assert api.log[0]["level"] == "ERROR"
    assert "ada@" not in repr(logged)


async def every_operation(api: Api) -> list[httpx.Response]:
    user, post = f"/api/v1/users/{NOBODY}", f"/api/v1/posts/{NOBODY}"
    written = {"author_id": NOBODY, "title": "t", "content": "c"}
    requests: list[tuple[str, str, object]] = [
        ("POST", "/api/v1/users", ADA),
        ("POST", "/api/v1/posts", written),
        *[(method, path, {}) for method in ("GET", "PATCH", "DELETE") for path in (user, post)],
        *[("GET", path, None) for path in ("/api/v1/users", "/api/v1/posts")],
    ]
    return [await api.client.request(method, path, json=body) for method, path, body in requests]


async def test_failed_stream_is_not_followed_by_a_problem() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"first"
        raise RuntimeError(SECRET_TEXT)

    async def broken() -> Response:
        return StreamingResponse(pieces())

    async with serving() as api:
        api.app.add_api_route("/broken", broken)
        with structlog.testing.capture_logs() as events:
            response = await call(api.app, "GET", "/broken")
    assert len(response.extensions["messages"]) == 2
    assert response.content == b"first"
    assert [event["exception"].split()[0] for event in events] == ["builtins.RuntimeError"]
    assert api.log[-1]["status"] == 200


async def test_access_log_contains_route_templates_only(api: Api) -> None:
    user = await api.user()
    headers = {"cookie": "canary", "x-request-id": "r1"}
    response = await api.client.get(f"/api/v1/users/{user['id']}/?canary=1", headers=headers)
    event = api.log[-1]
    assert event.pop("duration_ms") > 0
    assert event == {
        "level": "WARNING",
        "event": "request",
        "request_id": "r1",
        "method": "GET",
        "route": "/api/v1/users/{user_id}",
        "status": 422,
        "response_bytes": len(response.content),
        "api_key_id": str(ADMIN_ID),
    }
    assert "canary" not in repr(api.log)
    assert user["id"] not in repr(api.log)


async def test_websocket_is_closed_by_the_application(api: Api) -> None:
    sent = []

    async def receive() -> dict[str, str]:
        return {"type": "websocket.connect"}

    async def send(message: object) -> None:
        sent.append(message)

    scope = {**scope_of("GET", "/livez", headers=[]), "type": "websocket", "subprotocols": []}
    await api.app(scope, receive, send)
    assert sent == [{"type": "websocket.close", "code": 1000, "reason": ""}]
    assert api.log == []


async def test_requests_with_shared_server_state_have_separate_contexts(api: Api) -> None:
    state = {"of the lifespan": 1}
    responses = [await call(api.app, "GET", path, state=state) for path in ("/nowhere", "/livez")]
    assert [response.status_code for response in responses] == [404, 200]
    assert [event["status"] for event in api.log] == [404, 200]
    assert state == {"of the lifespan": 1}


@pytest.mark.parametrize(("version", "expected"), [("1.0", "close"), ("1.1", "close"), ("2", None), ("3", None)])
async def test_connection_header_is_sent_only_over_http_1(api: Api, version: str, expected: str | None) -> None:
    too_large = [(b"content-length", b"9" * 18)]
    response = await call(api.app, "POST", "/api/v1/users", headers=too_large, http_version=version)
    assert response.status_code == 413
    assert response.headers.get("connection") == expected
