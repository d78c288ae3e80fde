"""Tests for the spans of requests, use cases and statements."""

import asyncio
from collections.abc import AsyncIterator, Mapping

import asyncpg
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from adapters.observability.tracing import Tracer, _summarize_statement
from application.ports import StorageUnavailableError
from tests.http.support import ADMIN_ID, ADMIN_KEY, NOBODY
from tests.observability.traced_service import Traced, tracing
from tests.support.database_fixture import DatabaseFixture, with_empty_tables

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
CANARY = "canary7"


@pytest.fixture
async def traced(stores: Mapping[str, DatabaseFixture]) -> AsyncIterator[Traced]:
    async with with_empty_tables(stores["asyncpg"]) as store, tracing(store) as traced:
        yield traced


def attributes(span: ReadableSpan) -> dict[str, object]:
    return dict(span.attributes or {})


async def test_request_use_case_and_statement_have_nested_spans(store: DatabaseFixture) -> None:
    async with tracing(store) as traced:
        created = await traced.client.post("/api/v1/users", json={"email": "ada@example.org"})
        traced.spans()
        await traced.client.get(f"/api/v1/users/{created.json()['id']}")
        statement, use_case, request = traced.spans()
        assert [(one.name, one.kind) for one in (statement, use_case, request)] == [
            ("SELECT users", SpanKind.CLIENT),
            ("UserService.get", SpanKind.INTERNAL),
            ("GET /api/v1/users/{user_id}", SpanKind.SERVER),
        ]
        assert statement.parent == use_case.context
        assert use_case.parent == request.context
        assert request.parent is None
        assert attributes(request) == {
            "http.request.method": "GET",
            "http.route": "/api/v1/users/{user_id}",
            "http.response.status_code": 200,
            "url.scheme": "http",
        }
        assert attributes(use_case) == {}
        text = attributes(statement).pop("db.query.text")
        assert attributes(statement) == {
            "db.system.name": "postgresql",
            "db.query.summary": "SELECT users",
            "db.query.text": text,
        }
        assert str(text).startswith("SELECT users.")
        assert {one.status.status_code for one in (statement, use_case, request)} == {StatusCode.UNSET}


async def test_idempotent_create_has_spans_for_its_transaction(traced: Traced) -> None:
    body = {"email": "ada@example.org"}
    await traced.client.post("/api/v1/users", json=body, headers={"Idempotency-Key": "one"})
    names = [span.name for span in traced.spans()]
    assert names == [
        "BEGIN", "INSERT idempotency_records", "INSERT users", "COMMIT", "UserService.create_once",
        "POST /api/v1/users",
    ]  # fmt: skip


async def test_traceparent_continues_the_trace(traced: Traced) -> None:
    headers = [("traceparent", PARENT), ("tracestate", "one=1"), ("tracestate", "two=2"), ("baggage", "user=ada")]
    await traced.client.get("/livez", headers=headers)
    (request,) = traced.spans()
    assert request.context is not None
    assert request.parent is not None
    assert f"{request.context.trace_id:032x}" == TRACE == traced.log[-1]["trace_id"]
    assert f"{request.parent.span_id:016x}" == "00f067aa0ba902b7"
    assert dict(request.context.trace_state) == {"one": "1", "two": "2"}


MALFORMED = [
    *["", PARENT[:-1], PARENT.upper(), f"ff{PARENT[2:]}", f"{PARENT}-more", f"{PARENT}\xe9"],
    *[f"00-{'0' * 32}-00f067aa0ba902b7-01", f"00-{TRACE}-{'0' * 16}-01"],
]


@pytest.mark.parametrize(
    "given",
    [*[[("traceparent", value)] for value in MALFORMED], [("traceparent", PARENT)] * 2, [("tracestate", "one=1")]],
)
async def test_malformed_traceparent_starts_a_new_trace(traced: Traced, given: list[tuple[str, str]]) -> None:
    headers = [(name.encode(), value.encode("latin-1")) for name, value in given]
    assert (await traced.client.get("/livez", headers=headers)).status_code == 200
    (request,) = traced.spans()
    assert request.parent is None
    assert request.context is not None
    assert f"{request.context.trace_id:032x}" != TRACE
    assert dict(request.context.trace_state) == {}


async def test_unsampled_traceparent_exports_no_span(traced: Traced) -> None:
    response = await traced.client.get("/api/v1/users", headers={"traceparent": f"{PARENT[:-2]}00"})
    assert (response.status_code, traced.spans()) == (200, [])
    assert traced.log[-1]["trace_id"] == TRACE


async def test_concurrent_requests_have_separate_spans(traced: Traced) -> None:
    await asyncio.gather(*(traced.client.get("/api/v1/posts") for _ in range(8)))
    spans = traced.spans()
    parents = {span.context.span_id: span.parent.span_id for span in spans if span.context and span.parent}
    use_cases = [span.parent.span_id for span in spans if span.kind is SpanKind.CLIENT and span.parent]
    assert len(use_cases) == len({parents[use_case] for use_case in use_cases}) == 8


async def test_expected_errors_do_not_mark_spans_as_failed(traced: Traced) -> None:
    await traced.client.get(f"/api/v1/users/{NOBODY}")
    *_, use_case, request = traced.spans()
    assert attributes(use_case) == {"error.type": "UserNotFoundError"}
    assert {use_case.status.status_code, request.status.status_code} == {StatusCode.UNSET}
    assert attributes(request)["http.response.status_code"] == 404


async def test_failed_statement_marks_all_spans_with_its_class(traced: Traced, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = type(traced.database.driver).__mro__[1]

    async def fail(*_: object) -> None:
        raise OSError(f"{CANARY} at 10.0.0.1")

    monkeypatch.setattr(driver, "fetch", fail)
    assert (await traced.client.get("/api/v1/posts")).status_code == 503
    statement, use_case, request = traced.spans()
    assert attributes(statement)["error.type"] == "OSError"
    assert attributes(use_case) == {"error.type": StorageUnavailableError.__qualname__}
    assert attributes(request)["error.type"] == "503"
    assert {one.status.status_code for one in (statement, use_case, request)} == {StatusCode.ERROR}
    assert not any(one.events or one.status.description for one in (statement, use_case, request))


def test_statement_span_has_sqlstate() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with pytest.raises(asyncpg.UniqueViolationError), Tracer(provider).statement_span("INSERT INTO users"):
        raise asyncpg.UniqueViolationError(CANARY)
    (statement,) = exporter.get_finished_spans()
    assert attributes(statement)["db.response.status_code"] == "23505"
    assert CANARY not in statement.to_json()


async def test_unknown_routes_and_methods_share_span_names(traced: Traced) -> None:
    await traced.client.get(f"/{CANARY}")
    await traced.client.request(CANARY.upper(), "/livez")
    nowhere, made_up = traced.spans()
    assert nowhere.name == "GET"
    assert attributes(nowhere).get("http.route") is None
    assert made_up.name == "HTTP /livez"
    assert attributes(made_up)["http.request.method"] == "_OTHER"


async def test_spans_contain_no_client_values(traced: Traced) -> None:
    canary = {"x-request-id": CANARY, "user-agent": CANARY, "cookie": CANARY, "baggage": f"{CANARY}={CANARY}"}
    body = {"email": f"{CANARY}@example.org", "full_name": CANARY}
    user = (await traced.client.post("/api/v1/users", json=body, headers=canary)).json()
    await traced.client.post("/api/v1/users", json=body, headers={**canary, "Idempotency-Key": CANARY})
    await traced.client.get(f"/api/v1/users?email={CANARY}@example.org", headers=canary)
    await traced.client.patch(f"/api/v1/users/{user['id']}", json={"full_name": f"{CANARY} II"}, headers=canary)
    post = {"author_id": user["id"], "title": CANARY, "content": CANARY}
    await traced.client.post("/api/v1/posts", json=post, headers=canary)
    await traced.client.get(f"/{CANARY}/{user['id']}?q={CANARY}", headers=canary)
    await traced.client.get("/api/v1/users", headers={"Authorization": f"Bearer {CANARY}"})
    text = "".join(span.to_json() for span in traced.spans())
    assert "INSERT INTO users" in text
    for secret in (CANARY, user["id"], "127.0.0.1", "hexapost.test", ADMIN_KEY[-32:], str(ADMIN_ID)):
        assert secret.lower() not in text.lower(), secret


@pytest.mark.parametrize(
    ("sql", "summary"),
    [
        ("SELECT users.id FROM users WHERE users.id = $1", "SELECT users"),
        ("INSERT INTO posts (id) VALUES ($1)", "INSERT posts"),
        ("UPDATE users SET email=$1", "UPDATE users"),
        ("DELETE FROM idempotency_records WHERE true", "DELETE idempotency_records"),
        (
            "WITH expired AS \n(SELECT a FROM b)\n DELETE FROM idempotency_records USING expired",
            "DELETE idempotency_records",
        ),
        ("BEGIN; SET LOCAL timezone = 'UTC'", "BEGIN"),
        ("COMMIT", "COMMIT"),
    ],
)
def test_statement_summary_names_operation_and_table(sql: str, summary: str) -> None:
    assert _summarize_statement(sql)[0] == summary
