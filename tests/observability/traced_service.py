"""A service on a database that writes its spans to memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields, replace

import httpx
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from adapters.observability.tracing import Tracer
from adapters.postgres.pool import Database
from adapters.postgres.unit_of_work import SqlAlchemyStorage
from tests.http.support import Json, serving
from tests.support.database_fixture import PATIENT, DatabaseFixture


@dataclass(frozen=True)
class Traced:
    """A client of the service, its log, and its ended spans in order."""

    exporter: InMemorySpanExporter
    client: httpx.AsyncClient
    database: Database
    log: list[Json]

    def spans(self) -> list[ReadableSpan]:
        """Return the spans that ended since the last call."""
        found = list(self.exporter.get_finished_spans())
        self.exporter.clear()
        return found


@asynccontextmanager
async def tracing(store: DatabaseFixture) -> AsyncIterator[Traced]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    traces = Tracer(provider)
    database = Database(store.url, replace(PATIENT, pool_size=2), statements=traces.statement_span)
    async with serving(SqlAlchemyStorage(database), start_span=traces.start_request_span) as api:
        services = api.app.state.hexapost.use_cases
        wrapped = {
            one.name: traces.wrap_service(getattr(services, one.name))
            for one in fields(services)
            if one.name not in {"authenticator", "readiness"}
        }
        api.app.state.hexapost.use_cases = replace(services, **wrapped)
        await api.client.get("/api/v1/users")  # caches the key
        await services.authenticator.close()
        traced = Traced(exporter, api.client, database, api.log)
        traced.spans()
        yield traced
    await database.close()
