"""Tests for equal results of memory and PostgreSQL with both drivers."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from adapters.testing.template_databases import Databases
from tests.properties.state_machine import StorageEquivalence
from tests.support.database_fixture import DRIVERS, DatabaseFixture, opened
from tests.support.polling import wait_until

SETTINGS = settings(
    stateful_step_count=30,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Return a separate event loop, because the state machine is not a coroutine."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def stores(runner: asyncio.Runner, databases: Databases) -> Iterator[list[DatabaseFixture]]:
    stack = AsyncExitStack()

    async def enter() -> list[DatabaseFixture]:
        return [await stack.enter_async_context(opened(databases.clone(), driver)) for driver in DRIVERS]

    stores = runner.run(enter())
    yield stores
    runner.run(stack.aclose())
    for store in stores:
        databases.drop(store.url)


@pytest.mark.parametrize("examples", [10, pytest.param(60, marks=pytest.mark.drill)])
def test_storages_return_equal_results(runner: asyncio.Runner, stores: list[DatabaseFixture], examples: int) -> None:
    class Machine(StorageEquivalence):
        pass

    Machine.runner, Machine.stores = runner, stores
    run_state_machine_as_test(Machine, settings=settings(SETTINGS, max_examples=examples))
    runner.run(wait_until(lambda: [store.checked_out for store in stores] == [0, 0]))
