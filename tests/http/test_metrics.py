"""Tests for `/metrics` and for the metrics of requests."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from adapters.http.middleware.admission import AdmissionController
from adapters.http.middleware.request_limits import RequestLimits
from adapters.http.problems.catalog import REJECTIONS
from adapters.http.routers.metrics import CONTENT_TYPE
from adapters.observability.metrics import Metrics
from application.ports import StorageBusyError, StorageUnavailableError
from domain.api_keys import Scope
from tests.http.support import Api, FailingStorage, call, check_problem, serving, stored_key
from tests.observability.prometheus_samples import Scrape
from tests.support.polling import TIMEOUT_SECONDS, wait_until
from tests.support.principals import CountingStorage

REQUESTS = "hexapost_http_requests_total"
REJECTED = "hexapost_http_requests_rejected_total"


@pytest.fixture
async def counted() -> AsyncIterator[Api]:
    async with serving(metrics=made()) as api:
        yield api


def made() -> Metrics:
    return Metrics(version="1", rejections=REJECTIONS)


async def scrape(api: Api) -> Scrape:
    response = await api.client.get("/metrics")
    assert response.status_code == 200
    return Scrape(response.text)


async def test_metrics_returns_the_prometheus_text_format(counted: Api) -> None:
    response = await counted.client.get("/metrics/")
    assert response.headers["content-type"] == CONTENT_TYPE
    assert response.headers["cache-control"] == "no-store"
    assert response.text.startswith("# HELP hexapost_")
    assert (await counted.client.head("/metrics")).status_code == 200
    check_problem(await counted.client.get("/metrics?name=x"), 422, "validation-failed")
    check_problem(await counted.client.post("/metrics"), 405, "method-not-allowed")


async def test_metrics_accepts_cached_keys_during_an_outage(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = CountingStorage()
    async with serving(storage, metrics=made()) as api:
        monkeypatch.setattr(api.app.state.hexapost.use_cases.authenticator, "_cache_ttl", 0)
        key, unknown = await api.key(Scope.METRICS_READ), await api.key(Scope.METRICS_READ)
        other = await api.key(Scope.USERS_READ)
        await call(api.app, "GET", "/metrics", key=key)
        await call(api.app, "GET", "/api/v1/users", key=other)
        storage.away = StorageUnavailableError()
        assert (await call(api.app, "GET", "/metrics", key=key)).status_code == 200
        assert (await call(api.app, "GET", "/metrics", key=other)).status_code == 403
        assert (await call(api.app, "GET", "/metrics", key=unknown)).status_code == 503
        assert (await call(api.app, "GET", "/api/v1/users", key=other)).status_code == 503
        storage.away = None


async def test_metrics_is_empty_without_a_recorder(api: Api) -> None:
    response = await api.client.get("/metrics")
    assert (response.status_code, response.content) == (200, b"")


async def test_metrics_label_requests_with_bounded_route_templates(counted: Api) -> None:
    user = await counted.user()
    await counted.client.head(f"/api/v1/users/{user['id']}/")
    for number in range(5):
        await counted.client.get(f"/api/v1/users/{user['id']}")
        await counted.client.get(f"/nowhere/{number}")
        await counted.client.request(f"MADE{number}", "/api/v1/users")
        await counted.client.get(f"/api/v1/users/{number}")
        await counted.client.get(f"/docs/assets/{number}")
    found = await scrape(counted)
    samples = found.found(REQUESTS)
    assert {(one.labels["route"], one.labels["method"], one.labels["status"]): one.value for one in samples} == {
        ("/api/v1/users", "POST", "201"): 1,
        ("/api/v1/users/{user_id}", "HEAD", "200"): 1,
        ("/api/v1/users/{user_id}", "GET", "200"): 5,
        ("unmatched", "GET", "404"): 5,
        ("/api/v1/users", "other", "405"): 5,
        ("/api/v1/users/{user_id}", "GET", "422"): 5,
        ("/docs/assets/{name}", "GET", "404"): 5,
    }
    assert "MADE" not in str(found.samples)
    assert found.total("hexapost_http_requests_in_flight") == 1  # the request for the metrics


async def test_metrics_count_storage_failures_as_rejections(counted: Api) -> None:
    for error in (StorageBusyError, StorageUnavailableError):
        async with counted.over(FailingStorage(error)):
            assert (await counted.client.get("/api/v1/users")).status_code == 503
    found = await scrape(counted)
    assert [found.total(REJECTED, reason=reason) for reason in ("overloaded", "database-unavailable")] == [1, 1]
    assert found.total(REJECTED) == 2


async def test_metrics_count_rejections_by_problem_code() -> None:
    # The clock does not advance, so the limit does not adapt.
    admission, limits = AdmissionController(clock=lambda: 0.0), RequestLimits(max_body_bytes=9)
    async with serving(metrics=made(), rate_limit="7/hour", limits=limits, admission=admission) as api:
        metrics_key = await stored_key(api.storage, Scope.METRICS_READ)
        await call(api.app, "GET", "/api/v1/users", key=None)
        await call(api.app, "GET", "/api/v1/posts", key=metrics_key)
        for _ in range(9):
            await api.client.get("/api/v1/users")
        await api.client.get("/nowhere")
        await api.client.post("/nowhere", content=b"x" * 10)
        admission._limit.maximum = 0
        for path in ("/nowhere", "/api/v1/users"):
            await api.client.get(path)
        found = Scrape((await call(api.app, "GET", "/metrics", key=metrics_key)).text)
    expected = {"unauthenticated": 1, "forbidden": 1, "rate-limited": 2, "body-too-large": 1, "overloaded": 2}
    assert {one.labels["reason"]: one.value for one in found.found(REJECTED) if one.value} == expected
    labeled = {(one.labels["route"], one.labels["status"]): one.value for one in found.found(REQUESTS)}
    assert labeled.items() >= {("unmatched", "404"): 1, ("rejected", "413"): 1, ("rejected", "503"): 2}.items()
    assert [event["route"] for event in api.log[-5:]] == [None] * 4 + ["/metrics"]


async def test_metrics_are_rendered_outside_the_event_loop() -> None:
    began, answered = threading.Event(), threading.Event()

    class Slow(Metrics):
        def render(self) -> bytes:
            began.set()
            assert answered.wait(TIMEOUT_SECONDS)
            return b"shown"

    async with serving(metrics=Slow(version="1")) as api:
        task = asyncio.create_task(api.client.get("/metrics"))
        await wait_until(began.is_set)
        assert (await api.client.get("/livez")).status_code == 200
        answered.set()
        assert (await task).content == b"shown"
