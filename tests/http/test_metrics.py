"""`/metrics`, and what the envelope tells of each request."""

import asyncio
import threading
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
from fastapi import Response

from adapters.http.admission import Admission
from adapters.http.limits import RequestLimits
from adapters.http.metrics import EXPOSITION
from adapters.http.problems import REJECTIONS
from adapters.telemetry.metrics import Metrics
from application.credentials import key_text
from application.ports import StorageOverloadedError, StorageUnavailableError
from domain.keys import ApiKey, Scope
from tests.http.support import NOBODY, Api, FailingStorage, call, check_problem, serving
from tests.support.callers import CountingStorage
from tests.support.services import PEPPERS, START
from tests.support.waiting import LONGEST, until
from tests.telemetry.scrapes import Scrape

REQUESTS = "hexapost_http_requests_total"
REJECTED = "hexapost_rejections_total"


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


async def test_it_is_the_text_format(counted: Api) -> None:
    response = await counted.client.get("/metrics/")
    assert response.headers["content-type"] == EXPOSITION
    assert response.headers["cache-control"] == "no-store"
    assert response.text.startswith("# HELP hexapost_")
    assert (await counted.client.head("/metrics")).status_code == 200


async def test_it_takes_the_scope_and_nothing_else(counted: Api) -> None:
    allowed = await counted.key(Scope.METRICS_READ)
    others = await counted.key(*set(Scope) - {Scope.METRICS_READ})
    assert (await call(counted.app, "GET", "/metrics", key=allowed)).status == 200
    assert (await call(counted.app, "GET", "/metrics", key=others)).status == 403
    assert (await call(counted.app, "GET", "/metrics", key=None)).status == 401
    check_problem(await counted.client.get("/metrics?name=x"), 422, "validation-failed")
    check_problem(await counted.client.post("/metrics"), 405, "method-not-allowed")


async def test_a_key_that_was_known_reads_them_while_the_database_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    storage = CountingStorage()
    async with serving(storage, metrics=made()) as api:
        monkeypatch.setattr(api.app.state.services.authenticator, "_remembers", 0)
        key, unknown = await api.key(Scope.METRICS_READ), await api.key(Scope.METRICS_READ)
        other = await api.key(Scope.USERS_READ)
        await call(api.app, "GET", "/metrics", key=key)
        await call(api.app, "GET", "/api/v1/users", key=other)
        storage.away = StorageUnavailableError()
        assert (await call(api.app, "GET", "/metrics", key=key)).status == 200
        assert (await call(api.app, "GET", "/metrics", key=other)).status == 403
        assert (await call(api.app, "GET", "/metrics", key=unknown)).status == 503
        assert (await call(api.app, "GET", "/api/v1/users", key=other)).status == 503
        storage.away = None


async def test_without_instruments_it_is_empty(api: Api) -> None:
    response = await api.client.get("/metrics")
    assert (response.status_code, response.content) == (200, b"")


async def test_requests_are_told_by_the_template_of_their_route(counted: Api) -> None:
    user = await counted.user()
    await counted.client.get(f"/api/v1/users/{user['id']}")
    await counted.client.head(f"/api/v1/users/{user['id']}/")
    await counted.client.get(f"/api/v1/users/{NOBODY}")
    found = await scrape(counted)
    route = "/api/v1/users/{user_id}"
    assert found.total(REQUESTS, route=route, method="GET", status="200") == 1
    assert found.total(REQUESTS, route=route, method="HEAD", status="200") == 1
    assert found.total(REQUESTS, route=route, method="GET", status="404") == 1
    assert found.total(REQUESTS, route="/api/v1/users", method="POST", status="201") == 1
    assert found.total("hexapost_http_requests_in_flight") == 1, "that for the figures itself"


async def test_what_clients_make_up_makes_no_new_series(counted: Api) -> None:
    for number in range(50):
        await counted.client.get(f"/nowhere/{number}")
        await counted.client.request(f"MADE{number}", "/api/v1/users")
        await counted.client.get(f"/api/v1/users/{number}")
        await counted.client.get(f"/docs/assets/{number}")
    found = await scrape(counted)
    assert {(one.labels["route"], one.labels["method"], one.labels["status"]) for one in found.found(REQUESTS)} == {
        ("unmatched", "GET", "404"),
        ("/api/v1/users", "other", "405"),
        ("/api/v1/users/{user_id}", "GET", "422"),
        ("/docs/assets/{name}", "GET", "404"),
    }
    assert "MADE" not in str(found.samples)


@pytest.mark.parametrize(
    ("error", "reason"), [(StorageOverloadedError, "overloaded"), (StorageUnavailableError, "database-unavailable")]
)
async def test_failures_of_the_storage_are_rejections(error: type[Exception], reason: str) -> None:
    async with serving(FailingStorage(error), metrics=made()) as api:
        assert (await api.client.get("/api/v1/users")).status_code == 503
        found = await scrape(api)
        assert (found.total(REJECTED, reason=reason), found.total(REJECTED)) == (1, 1)


async def test_refusals_are_rejections_by_their_code() -> None:
    async with serving(metrics=made(), rate_limit="7/hour", limits=RequestLimits(max_body_bytes=9)) as api:
        metrics_key = await _key_of(api)
        await call(api.app, "GET", "/api/v1/users", key=None)
        await call(api.app, "GET", "/api/v1/posts", key=metrics_key)
        await api.client.post("/api/v1/users", json={"email": "ada@example.org"})
        for _ in range(9):
            await api.client.get("/api/v1/users")
        found = Scrape((await call(api.app, "GET", "/metrics", key=metrics_key)).body.decode())
        expected = {"unauthenticated": 1, "forbidden": 1, "body-too-large": 1, "rate-limited": 2}
        assert {one.labels["reason"]: one.value for one in found.found(REJECTED) if one.value} == expected


async def test_a_request_that_is_out_of_time_is_one_too() -> None:
    async with serving(metrics=made(), limits=RequestLimits(request_timeout=0.05)) as api:

        async def sleep() -> Response:
            await asyncio.sleep(3600)
            return Response()

        api.app.add_api_route("/slow", sleep)
        assert (await api.client.get("/slow")).status_code == 503
        found = await scrape(api)
        assert (found.total(REJECTED, reason="deadline"), found.total(REJECTED)) == (1, 1)
        assert found.total("hexapost_http_request_duration_seconds_sum", route="/slow") >= 0.05


async def _key_of(api: Api) -> str:
    """Return a key for the metrics, past the limits of the body."""
    id_ = UUID("0198a3c7-2b51-7e04-8d3a-94c1f0b27e59")
    text = key_text(id_, "1" * 32)
    key = ApiKey.created(
        id=id_,
        name="metrics",
        scopes={Scope.METRICS_READ},
        user_id=None,
        secret=PEPPERS.hashed(text),
        expires_at=None,
        now=START,
    )
    async with api.storage.transaction() as work:
        await work.keys.add(key)
    return text


async def test_what_was_refused_unseen_is_not_among_what_is_not_there() -> None:
    admission = Admission()
    async with serving(metrics=made(), limits=RequestLimits(max_body_bytes=9), admission=admission) as api:
        await api.client.get("/nowhere")
        await api.client.post("/nowhere", content=b"x" * 10)
        admission.most = 0
        await api.client.get("/nowhere")
        await api.client.get("/api/v1/users")
        found = await scrape(api)
    counted = {(one.labels["route"], one.labels["status"]): one.value for one in found.found(REQUESTS)}
    assert counted == {("unmatched", "404"): 1, ("refused", "413"): 1, ("refused", "503"): 2}
    assert [event["route"] for event in api.log] == [None] * 4 + ["/metrics"]


async def test_other_requests_are_answered_while_the_figures_are_read() -> None:
    began, answered = threading.Event(), threading.Event()

    class Slow(Metrics):
        def exposition(self) -> bytes:
            began.set()
            assert answered.wait(LONGEST)
            return b"shown"

    async with serving(metrics=Slow(version="1")) as api:
        asked = asyncio.create_task(api.client.get("/metrics"))
        await until(began.is_set)
        assert (await api.client.get("/livez")).status_code == 200
        answered.set()
        assert (await asked).content == b"shown"
