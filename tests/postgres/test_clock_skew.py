"""Tests for two processes over one database, one of which has a wrong clock."""

import secrets
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretBytes

from adapters.asgi import create_container
from adapters.clock import utc_now
from adapters.container import Container
from adapters.setting_values import MIN_SECRET_BYTES
from adapters.settings import Settings
from application.authorization import SYSTEM_PRINCIPAL, UnauthenticatedError
from application.retention import RetentionRule
from domain.api_keys import ApiKeyNotFoundError, Scope
from domain.errors import FieldValidationError
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import a_request, make_api_key, store_api_keys

HOUR = timedelta(hours=1)
SKEW = 25 * HOUR


@pytest.fixture
def settings(store: DatabaseFixture, tmp_path: Path) -> Settings:
    secret = SecretBytes(secrets.token_bytes(MIN_SECRET_BYTES))
    return Settings(
        database_url=store.url,
        db_pool_size=2,
        cursor_secret=secret,
        api_key_peppers={1: secret},
        state_directory=tmp_path,
    )


@pytest.fixture
async def right(settings: Settings) -> AsyncIterator[Container]:
    """A process with the clock of the database."""
    container = create_container(settings)
    yield container
    await container.database().close()


@pytest.fixture(params=[SKEW, -SKEW], ids=["ahead", "behind"])
async def wrong(settings: Settings, request: pytest.FixtureRequest) -> AsyncIterator[Container]:
    """A process whose clock is ahead or behind."""
    container = create_container(settings)
    container.clock.override(lambda: utc_now() + request.param)
    yield container
    await container.database().close()


async def test_skewed_clock_neither_purges_nor_repeats_requests(
    store: DatabaseFixture, right: Container, wrong: Container
) -> None:
    key = make_api_key()
    await store_api_keys(store.storage, key)
    processes = (right, wrong)
    for first, second in (processes, processes[::-1]):
        request = a_request(key, key_hash=secrets.token_bytes(32))
        email = f"{secrets.token_hex()}@example.org"
        user, is_replay = await first.users().create_once(SYSTEM_PRINCIPAL, request, email=email)
        assert not is_replay
        for process in processes:
            assert await process.retention().purge_lag() == timedelta()
            assert await process.retention().purge() == {RetentionRule.IDEMPOTENCY_RECORDS: 0}
        for process in (second, first):
            assert await process.users().create_once(SYSTEM_PRINCIPAL, request, email=email) == (user, True)


async def test_skewed_clock_does_not_change_the_expiry_of_api_keys(
    store: DatabaseFixture, right: Container, wrong: Container
) -> None:
    created = await right.api_keys().create(
        SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], expires_at=utc_now() + HOUR
    )
    authenticator = wrong.authenticator()
    assert (await authenticator.authenticate(created.text)).api_key_id == created.key.id
    await authenticator.close()
    recent = "SELECT last_used_at BETWEEN now() - interval '1 hour' AND now() FROM api_keys"
    assert store.admin.execute(recent).fetchone() == (True,)
    store.admin.execute("UPDATE api_keys SET expires_at = now() - interval '1 hour'")
    authenticator.invalidate(created.key.id)
    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate(created.text)
    with pytest.raises(ApiKeyNotFoundError):
        await wrong.api_keys().rotate(SYSTEM_PRINCIPAL, created.key.id, until=utc_now() + HOUR)


async def test_skewed_clock_neither_rejects_nor_shifts_an_expiry(right: Container, wrong: Container) -> None:
    keys = wrong.api_keys()
    expiry = await keys.now(SYSTEM_PRINCIPAL) + HOUR
    assert abs(expiry - HOUR - utc_now()) < HOUR / 2
    created = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], expires_at=expiry)
    rotated = await keys.rotate(SYSTEM_PRINCIPAL, created.key.id, until=expiry)
    assert (await right.api_keys().get(SYSTEM_PRINCIPAL, rotated.key.id)).expires_at == expiry
    with pytest.raises(FieldValidationError):
        past = expiry - 2 * HOUR
        await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], expires_at=past)
