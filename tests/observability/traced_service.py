"""A service on a database that writes its spans to memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import httpx
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Sampler

from adapters.http.app import create_app
from adapters.http.dependencies import HttpOptions, UseCases
from adapters.observability.tracing import Tracer
from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from application.transactions import RetryPolicy
from tests.http.support import ADMIN_ID, ADMIN_KEY, SECRET, Json, store_key
from tests.support.database_fixture import PATIENT, DatabaseFixture
from tests.support.service_factories import authenticator, key_service, post_service, user_service


class Traced:
    """A client of the service, its log, and its ended spans in order."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter
        self.client: httpx.AsyncClient
        self.database: Database
        self.log: list[Json] = []

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that ended since the last call."""
        found = list(self._exporter.get_finished_spans())
        self._exporter.clear()
        return found

    def write(self, event: str, /, **fields: object) -> None:
        self.log.append({"event": event, **fields})


@asynccontextmanager
async def tracing(store: DatabaseFixture, sampler: Sampler | None = None) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces, traced = Tracer(provider), Traced(exporter)
    traced.database = Database(store.url, replace(PATIENT, pool_size=2), statements=traces.statement_span)
    storage, once = SqlAlchemyStorage(traced.database), RetryPolicy(max_elapsed=0)
    await store_key(storage, ADMIN_ID, ADMIN_KEY)
    knows = authenticator(storage, retry=once)

    async def readiness() -> dict[str, object]:
        return {}

    services = UseCases(
        users=traces.wrap_service(user_service(storage, retry=once)),
        posts=traces.wrap_service(post_service(storage, retry=once)),
        api_keys=traces.wrap_service(key_service(storage, retry=once, authenticator=knows)),
        authenticator=knows,
        readiness=readiness,  # type: ignore[arg-type]
    )
    options = HttpOptions(
        version="1.2.3", cursor_secret=SECRET, access_log=traced.write, start_span=traces.start_request_span
    )
    transport = httpx.ASGITransport(create_app(services, options), raise_app_exceptions=False)
    headers = {"Authorization": f"Bearer {ADMIN_KEY}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://hexapost.test", headers=headers) as client:
        traced.client = client
        await client.get("/api/v1/users")  # caches the key
        await knows.close()
        traced.spans()
        yield traced
    await traced.database.close()
