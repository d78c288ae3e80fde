"""What the service does beside the requests, from its start to its end."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import structlog
from fastapi import FastAPI

from adapters.postgres.database import Database
from application.authentication import Authenticator
from application.retention import RetentionService


class Lifespan:
    """Watches what is ready, and removes what has expired about every `purge_interval` seconds.

    At the end, ends all that was begun, in order.
    """

    def __init__(
        self,
        *,
        watching: Callable[[], AbstractAsyncContextManager[None]],
        database: Database,
        authenticator: Authenticator,
        retention: RetentionService,
        purge_interval: float,
    ) -> None:
        self._watching = watching
        self._database = database
        self._authenticator = authenticator
        self._retention = retention
        self._purge_interval = purge_interval

    @asynccontextmanager
    async def __call__(self, app: FastAPI) -> AsyncIterator[None]:  # noqa: ARG002 - FastAPI's
        """Return the lifespan of an application."""
        try:
            async with self._watching(), self._purging():
                yield
        finally:
            try:
                await self._authenticator.close()
            finally:
                await self._database.close()

    @asynccontextmanager
    async def _purging(self) -> AsyncIterator[None]:
        purging = asyncio.create_task(self._purge_for_ever())
        try:
            yield
        finally:
            purging.cancel()
            await asyncio.wait([purging])

    async def _purge_for_ever(self) -> None:
        while True:
            # Spread, so that processes that were started together do not all come at once.
            await asyncio.sleep(self._purge_interval * random.uniform(0.5, 1.5))  # noqa: S311 - it guards nothing
            await self._purge()

    async def _purge(self) -> None:
        try:
            await self._retention.purge()
        except Exception as error:  # noqa: BLE001 - whatever it was may be gone the next time
            # The error itself may hold text of the database's.
            structlog.get_logger("hexapost").warning("purge failed", error=type(error).__name__)
