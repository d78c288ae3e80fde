"""Startup, background tasks and shutdown of the service."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from fastapi import FastAPI

from adapters.observability.metrics import REFRESH_SECONDS, Metrics
from adapters.postgres.pool import Database
from application.authentication import Authenticator
from application.retention import RetentionService


class Lifespan:
    """Monitors readiness, deletes expired records about every `purge_interval` seconds, and closes all resources.

    `shutdown_tracing` is called last, after the last span has ended.
    """

    def __init__(
        self,
        *,
        run_readiness_monitor: Callable[[], AbstractAsyncContextManager[None]],
        database: Database,
        authenticator: Authenticator,
        retention: RetentionService,
        purge_interval: float,
        metrics: Metrics,
        shutdown_tracing: Callable[[], Awaitable[None]] | None = None,
        drain_log: Callable[[], None] | None = None,
    ) -> None:
        self._run_readiness_monitor = run_readiness_monitor
        self._database = database
        self._authenticator = authenticator
        self._retention = retention
        self._purge_interval = purge_interval
        self._metrics = metrics
        self._shutdown_tracing = shutdown_tracing
        self._drain_log = drain_log

    @asynccontextmanager
    async def __call__(self, app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG002 - FastAPI passes it
        """Run the lifespan of an application."""
        try:
            async with self._run_readiness_monitor(), self._background_tasks():
                yield
        finally:
            try:
                await self._authenticator.close()
            finally:
                await self._database.close()
                self._metrics.close()
                if self._shutdown_tracing is not None:
                    await self._shutdown_tracing()
                if self._drain_log is not None:
                    self._drain_log()

    @asynccontextmanager
    async def _background_tasks(self) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(self._purge_loop())]
        if self._metrics.directory is not None:
            tasks.append(asyncio.create_task(self._metrics_refresh_loop()))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _metrics_refresh_loop(self) -> None:
        """Publish the state of the pool to the other processes, any of which can serve /metrics."""
        while True:
            self._metrics.refresh()
            await asyncio.sleep(REFRESH_SECONDS)

    async def _purge_loop(self) -> None:
        while True:
            # Random, so that processes that start together do not purge at the same time.
            await asyncio.sleep(self._purge_interval * random.uniform(0.5, 1.5))  # noqa: S311 - not used for security
            await self._run_logged(self._purge)
            await self._run_logged(self._measure_lag)

    async def _purge(self) -> None:
        await self._retention.purge()
        self._metrics.record_purge()

    async def _measure_lag(self) -> None:
        self._metrics.set_purge_lag((await self._retention.purge_lag()).total_seconds())

    async def _run_logged(self, operation: Callable[[], Awaitable[None]]) -> None:
        try:
            await operation()
        except Exception as error:  # noqa: BLE001 - the next run may succeed
            # The error itself may contain database text.
            structlog.get_logger("hexapost").warning("purge failed", error_type=type(error).__name__)
