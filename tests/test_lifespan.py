"""Tests for the background tasks and the shutdown of the service."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from datetime import timedelta
from pathlib import Path

import pytest
from fastapi import FastAPI
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from structlog.testing import capture_logs

from adapters.lifespan import Lifespan
from adapters.observability.metrics import MULTIPROC_DIR_VARIABLE, Metrics
from application.ports import StorageUnavailableError
from tests.observability.prometheus_samples import Scrape


class Resource:
    """A resource that records when it is closed."""

    def __init__(self, name: str, happened: list[str]) -> None:
        self.name = name
        self.happened = happened
        self.error: Exception | None = None

    async def close(self) -> None:
        self.happened.append(f"{self.name}.close")
        if self.error is not None:
            raise self.error


class Stage:
    """A lifespan, its resources, and the order of events in it."""

    def __init__(self) -> None:
        self.happened: list[str] = []
        self.on_purge: Callable[[], Awaitable[None]] = self.nothing
        self.lags = [timedelta(0)]
        self.metrics = Metrics(version="1")
        self.authenticator = Resource("authenticator", self.happened)
        self._rounds = asyncio.Semaphore(0)
        self.lifespan = Lifespan(
            run_readiness_monitor=nullcontext,
            database=Resource("database", self.happened),  # type: ignore[arg-type]
            authenticator=self.authenticator,  # type: ignore[arg-type]
            retention=self,  # type: ignore[arg-type]
            purge_interval=0.001,
            metrics=self.metrics,
        )

    async def nothing(self) -> None:
        """Purge no records."""

    async def purge(self) -> None:
        self.happened.append("purge")
        self._rounds.release()
        await self.on_purge()

    async def purge_lag(self) -> timedelta:
        return self.lags.pop() if len(self.lags) > 1 else self.lags[0]

    @asynccontextmanager
    async def purged(self, times: int) -> AsyncIterator[None]:
        """Run the lifespan; the block begins after so many purges."""
        async with asyncio.timeout(30), self.lifespan(FastAPI()):
            for _ in range(times):
                await self._rounds.acquire()
            yield


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_lifespan_purges_repeatedly_and_closes_in_order(stage: Stage) -> None:
    async with stage.purged(3):
        pass
    rounds = stage.happened.count("purge")
    assert stage.happened == ["purge"] * rounds + ["authenticator.close", "database.close"]
    await asyncio.sleep(0.01)
    assert stage.happened.count("purge") == rounds


async def test_failed_purge_is_logged_and_repeated(stage: Stage) -> None:
    errors = [StorageUnavailableError("s3cret"), RuntimeError("s3cret"), OSError("s3cret")]

    async def failing() -> None:
        if errors:
            raise errors.pop(0)

    stage.on_purge = failing
    with capture_logs() as logs:
        async with stage.purged(5):
            pass
    assert logs == [
        {"event": "purge failed", "log_level": "warning", "error_type": name}
        for name in ("StorageUnavailableError", "RuntimeError", "OSError")
    ]
    assert "s3cret" not in repr(logs)


async def test_shutdown_cancels_a_running_purge(stage: Stage) -> None:
    async def endless() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            stage.happened.append("cancelled")

    stage.on_purge = endless
    async with stage.purged(1):
        pass
    assert stage.happened == ["purge", "cancelled", "authenticator.close", "database.close"]


async def test_shutdown_closes_database_after_an_error(stage: Stage) -> None:
    stage.authenticator.error = RuntimeError("close")
    with pytest.raises(RuntimeError, match="close"):
        async with stage.purged(1):
            pass
    assert stage.happened[-1] == "database.close"


async def test_service_error_closes_in_order(stage: Stage) -> None:
    with pytest.raises(ValueError, match="served"):
        async with stage.purged(1):
            raise ValueError("served")
    assert stage.happened[-2:] == ["authenticator.close", "database.close"]


async def test_purge_interval_has_jitter(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[float, float]] = []

    def uniform(low: float, high: float) -> float:
        drawn.append((low, high))
        return low

    monkeypatch.setattr(random, "uniform", uniform)
    async with stage.purged(2):
        pass
    assert set(drawn) == {(0.5, 1.5)}
    assert len(drawn) > 2


@pytest.mark.parametrize("error", [None, StorageUnavailableError()], ids=["success", "failure"])
async def test_purge_sets_lag_metric_after_success_and_failure(stage: Stage, error: Exception | None) -> None:
    async def purge() -> None:
        if error is not None:
            raise error

    stage.on_purge = purge
    stage.lags = [timedelta(seconds=5), timedelta(seconds=7)]
    with capture_logs():
        async with stage.purged(4):
            found = Scrape(stage.metrics.render().decode())
    assert found.total("hexapost_purge_lag_seconds") == 5
    purged_at = found.total("hexapost_last_purge_timestamp_seconds")
    assert purged_at > 1.7e9 if error is None else purged_at == 0


async def test_lifespan_writes_shared_gauges_until_shutdown(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MULTIPROC_DIR_VARIABLE, str(tmp_path))
    shared = Metrics(version="1", directory=tmp_path)
    shared.set_pool_source(lambda: (3, 2, 1))
    stage.lifespan._metrics = shared
    registry = CollectorRegistry()
    MultiProcessCollector(registry, tmp_path)  # type: ignore[no-untyped-call]
    async with stage.purged(1):
        assert Scrape(generate_latest(registry).decode()).total("hexapost_db_pool_connections_in_use") == 2
    assert list(Scrape(generate_latest(registry).decode()).found("hexapost_db_pool_connections_in_use")) == []


async def test_shutdown_ends_traces_last(stage: Stage) -> None:
    async def end() -> None:
        stage.happened.append("traces")

    stage.lifespan._shutdown_tracing = end
    async with stage.purged(1):
        pass
    assert stage.happened[-2:] == ["database.close", "traces"]
