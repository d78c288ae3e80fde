"""Tests for rate limits and for the store that processes share."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import httpx
import pytest
from fakeredis import FakeRedis, TcpFakeServer
from limits.aio.storage.redis.bridge import RedisBridge
from structlog.testing import capture_logs

from adapters.http import rate_limits
from domain.api_keys import Scope
from tests.http.openapi_document import DOCUMENT, check
from tests.http.support import ADA, NOBODY, Api, bearer, call, check_problem, once, serving, stored_key
from tests.support.factories import stored_users
from tests.support.polling import TIMEOUT_SECONDS

USERS = "/api/v1/users"
POLICY = '"requests";q=2;w=60'


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """A monotonic clock that the test advances. A limit in the process uses no other clock."""
    made = Clock()
    monkeypatch.setattr(rate_limits, "time", SimpleNamespace(monotonic=made))
    return made


@pytest.fixture
async def api(clock: Clock) -> AsyncIterator[Api]:
    """An application that accepts two requests a minute."""
    assert clock.now
    async with serving(rate_limit="2/minute") as made:
        yield made


async def test_rate_limit_headers_count_down(api: Api, clock: Clock) -> None:
    for path, status, left in [(USERS, 200, 1), (f"{USERS}/x", 422, 0)]:
        response = await api.client.get(path)
        assert response.status_code == status
        assert response.headers["ratelimit-policy"] == POLICY
        assert response.headers["ratelimit"] == f'"requests";r={left};t=60'
        clock.now += 0.5
    clock.now += 60
    response = await api.client.get(f"{USERS}/{NOBODY}")
    assert (response.status_code, response.headers["ratelimit"]) == (404, '"requests";r=1;t=60')
    for name in ("RateLimit", "RateLimit-Policy"):
        check(DOCUMENT["components"]["headers"][name]["schema"], response.headers[name])


@pytest.mark.usefixtures("clock")
async def test_rate_limit_counts_successes_and_failures() -> None:
    async with serving(rate_limit="9/minute") as api:
        requests: list[tuple[str, str, object, int]] = [
            ("POST", USERS, ADA, 201),
            ("POST", USERS, {}, 422),
            ("DELETE", f"{USERS}/{NOBODY}", None, 404),
            ("PATCH", f"{USERS}/{NOBODY}", {"full_name": None}, 404),
            ("HEAD", f"{USERS}/{NOBODY}", None, 404),
            ("GET", f"{USERS}?x=1", None, 422),
        ]
        for number, (method, path, body, status) in enumerate(requests, start=1):
            response = await api.client.request(method, path, json=body)
            assert response.status_code == status
            assert response.headers.get_list("ratelimit") == [f'"requests";r={9 - number};t=60']
            assert response.headers.get_list("ratelimit-policy") == ['"requests";q=9;w=60']
        key = bearer(await stored_key(api.storage, Scope.POSTS_READ))
        assert [(await api.client.get(USERS, headers=key)).status_code for _ in range(10)] == [403] * 9 + [429]


async def test_request_beyond_rate_limit_returns_429(api: Api, clock: Clock) -> None:
    for _ in range(2):
        assert (await api.client.get(USERS)).status_code == 200
    clock.now += 17.4
    for _ in range(3):
        response = await api.client.post(USERS, json=ADA, headers=once("a"))
        check_problem(response, 429, "rate-limited")
        assert response.headers["retry-after"] == "43"
        assert response.headers["ratelimit"] == '"requests";r=0;t=43'
        assert response.headers["ratelimit-policy"] == POLICY
        assert (api.log[-1]["status"], api.log[-1]["api_key_id"] is None) == (429, False)
    # The limit is checked before the query and the body.
    malformed = await api.client.post(f"{USERS}?x=%", content=b"{", headers={"content-type": "text/plain"})
    check_problem(malformed, 429, "rate-limited")
    assert await stored_users(api.storage) == []
    clock.now += 42.5
    response = await api.client.get(USERS)
    assert (response.status_code, response.headers["retry-after"]) == (429, "1")
    clock.now += 0.5
    first = await api.client.post(USERS, json=ADA, headers=once("a"))
    assert (first.status_code, "idempotency-replayed" in first.headers) == (201, False)


async def test_rate_limit_is_per_api_key(api: Api) -> None:
    other = bearer(await stored_key(api.storage))
    for _ in range(3):
        last = await api.client.get(USERS)
    assert last.status_code == 429
    assert (await api.client.get(USERS, headers=other)).headers["ratelimit"] == '"requests";r=1;t=60'
    same = [(b"x-api-key", other["Authorization"].removeprefix("Bearer ").encode())]
    response = await call(api.app, "GET", USERS, headers=same, key=None)
    assert response.headers["ratelimit"] == '"requests";r=0;t=60'


async def test_rate_limit_excludes_unauthenticated_requests(api: Api) -> None:
    for _ in range(3):
        response = await api.client.get(USERS, headers={"Authorization": "Bearer x"})
        check_problem(response, 401, "unauthenticated")
        assert "ratelimit" not in response.headers
        for path in ("/livez", "/readyz", "/docs", "/nowhere"):
            public = await api.client.get(path)
            assert public.status_code in {200, 404}
            assert "ratelimit" not in public.headers
        put = await api.client.put(USERS)
        check_problem(put, 405, "method-not-allowed")
        assert "ratelimit" not in put.headers
    assert (await api.client.get(USERS)).headers["ratelimit"] == '"requests";r=1;t=60'


async def test_rate_limit_holds_for_concurrent_requests() -> None:
    async with serving(rate_limit="10/hour") as api:
        answers = await asyncio.gather(*[api.client.get(USERS) for _ in range(40)])
    assert sorted(one.status_code for one in answers) == [200] * 10 + [429] * 30


async def test_disabled_rate_limit_sends_no_headers() -> None:
    async with serving(rate_limit=None) as api:
        for _ in range(3):
            response = await api.client.get(USERS)
            assert response.status_code == 200
            assert not {"ratelimit", "ratelimit-policy", "retry-after"} & set(response.headers)


@contextmanager
def store_on(port: int) -> Iterator[str]:
    """Run a store that processes can share, and yield its URL."""
    server = TcpFakeServer(("127.0.0.1", port), server_type="redis")
    # Without the script, this server responds NOSCRIPT and disconnects; a real one does not disconnect.
    FakeRedis(server=server.fake_server).script_load(RedisBridge.SCRIPT_INCR_EXPIRE)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"redis://127.0.0.1:{server.server_address[1]}/0"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture
def store() -> Iterator[str]:
    with store_on(0) as name:
        yield name


async def test_rate_limit_store_is_shared(store: str) -> None:
    async with (
        serving(rate_limit="3/hour", rate_limit_store=store) as one,
        serving(rate_limit="3/hour", rate_limit_store=store) as other,
    ):
        answers = [await api.client.get(USERS) for api in (one, other, one, other, one)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
        left = [answer.headers["ratelimit"].split(";")[1] for answer in answers]
        assert left == ["r=2", "r=1", "r=0", "r=0", "r=0"]
        check_problem(answers[3], 429, "rate-limited")
        assert 3590 <= int(answers[3].headers["retry-after"]) <= 3600
        key = bearer(await stored_key(one.storage))
        assert (await one.client.get(USERS, headers=key)).status_code == 200


@pytest.mark.parametrize("seconds", [90, 3600])
async def test_store_clock_set_back_extends_no_window(
    store: str, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    wall_time = time.time
    async with serving(rate_limit="2/minute", rate_limit_store=store) as api:
        assert [(await api.client.get(USERS)).status_code for _ in range(3)] == [200, 200, 429]
        monkeypatch.setattr(time, "time", lambda: wall_time() - seconds)
        answers = [await api.client.get(USERS) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]
    assert answers[0].headers["ratelimit"] == '"requests";r=1;t=60'
    assert 1 <= int(answers[2].headers["retry-after"]) <= 60


def test_rate_limit_forgets_ended_windows(clock: Clock) -> None:
    windows = rate_limits.ProcessWindows(60)
    for key in ("a", "b", "a"):
        windows.count(key)
        clock.now += 20
    assert windows.count("a") == (1, 60)
    assert set(windows._windows) == {"a", "b"}
    clock.now += 20
    assert windows.count("c") == (1, 60)
    assert set(windows._windows) == {"a", "c"}


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def test_rate_limit_store_failure_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    store = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    with capture_logs() as logs, caplog.at_level(logging.DEBUG):
        async with serving(rate_limit="1/hour", rate_limit_store=store) as api:
            answers = [await api.client.get(USERS) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [200] * 4
    assert all("ratelimit" not in answer.headers for answer in answers)
    (line,) = logs
    assert line["log_level"] == "warning"
    for secret in ("hunter2", "127.0.0.1", store.rsplit(":", maxsplit=1)[-1]):
        assert secret not in f"{line}{caplog.text}"


async def _unresponsive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()


async def test_rate_limit_store_timeout_allows_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "STORE_TIMEOUT_SECONDS", 0.05)
    server = await asyncio.start_server(_unresponsive, "127.0.0.1", 0)
    store = f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0"
    async with serving(rate_limit="1/hour", rate_limit_store=store) as api:
        with capture_logs() as logs:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                answers: list[httpx.Response] = await asyncio.gather(*[api.client.get(USERS) for _ in range(20)])
    assert [answer.status_code for answer in answers] == [200] * 20
    assert len(logs) == 1
    server.close()


async def test_rate_limit_resumes_when_store_recovers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate_limits, "STORE_COOLDOWN_SECONDS", 0.0)
    port = free_port()
    async with serving(rate_limit="1/hour", rate_limit_store=f"redis://127.0.0.1:{port}/0") as api:
        assert "ratelimit" not in (await api.client.get(USERS)).headers
        with store_on(port):
            assert [(await api.client.get(USERS)).status_code for _ in range(2)] == [200, 429]
