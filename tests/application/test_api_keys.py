"""Tests for the use cases of API keys."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from application.api_key_tokens import PepperSet, parse_api_key_id
from application.api_keys import ApiKeyService
from application.authentication import Authenticator
from application.authorization import SYSTEM_PRINCIPAL, ForbiddenError, Principal, UnauthenticatedError
from application.ports import StorageUnavailableError
from application.transactions import RetryPolicy
from domain.api_keys import ApiKeyNotFoundError, ApiKeyUserNotFoundError, NewApiKey, Scope
from domain.users import User
from tests.support.factories import make_api_key, make_user, store, stored_api_keys
from tests.support.principals import HookedStorage, bound_principal, raising, unbound_principal
from tests.support.service_factories import PEPPERS, START, key_service

HOUR = timedelta(hours=1)
SOON = START + timedelta(days=1)


@pytest.fixture
def keys(storage: InMemoryStorage) -> ApiKeyService:
    return key_service(storage)


async def test_create_key_returns_a_key_that_authenticates(storage: InMemoryStorage, keys: ApiKeyService) -> None:
    issued = await keys.create(SYSTEM_PRINCIPAL, name=" App ", scopes=[Scope.USERS_READ], expires_at=SOON)
    key = issued.key
    assert (key.name, key.scopes, key.user_id, key.expires_at) == ("App", frozenset({Scope.USERS_READ}), None, SOON)
    assert await keys.get(SYSTEM_PRINCIPAL, key.id) == key
    assert parse_api_key_id(issued.text) == key.id
    assert PEPPERS.verify(issued.text, key.secret_hash)
    assert key.secret_hash.pepper == 2
    principal = await keys.authenticator.authenticate(issued.text)
    assert (principal.api_key_id, principal.scopes, principal.user_id) == (key.id, key.scopes, None)
    assert issued.text not in repr(await stored_api_keys(storage))


async def test_create_key_generates_a_new_secret_for_every_key(keys: ApiKeyService) -> None:
    texts = {(await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ])).text for _ in range(9)}
    assert len({text[38:70] for text in texts}) == 9


@pytest.mark.parametrize(
    ("principal", "missing"),
    [
        (unbound_principal(Scope.KEYS_ADMIN, Scope.USERS_READ), Scope.USERS_WRITE),
        (bound_principal(new_id(), Scope), None),
    ],
)
async def test_create_key_raises_forbidden(
    storage: InMemoryStorage, keys: ApiKeyService, principal: Principal, missing: Scope | None
) -> None:
    with pytest.raises(ForbiddenError) as raised:
        await keys.create(principal, name="K", scopes=[Scope.USERS_READ, Scope.USERS_WRITE])
    assert raised.value.scope is missing
    assert await stored_api_keys(storage) == []


async def test_create_key_binds_the_key_to_a_stored_user(keys: ApiKeyService, user: User) -> None:
    with pytest.raises(ApiKeyUserNotFoundError):
        await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], user_id=new_id())
    issued = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], user_id=user.id)
    assert (await keys.authenticator.authenticate(issued.text)).user_id == user.id


async def test_key_use_cases_raise_not_found_for_unknown_ids(storage: InMemoryStorage, keys: ApiKeyService) -> None:
    for attempt in (
        keys.get(SYSTEM_PRINCIPAL, new_id()),
        keys.revoke(SYSTEM_PRINCIPAL, new_id()),
        keys.rotate(SYSTEM_PRINCIPAL, new_id(), until=SOON),
    ):
        with pytest.raises(ApiKeyNotFoundError):
            await attempt
    assert await stored_api_keys(storage) == []


async def test_revoke_keeps_the_time_of_the_first_revocation(keys: ApiKeyService) -> None:
    issued = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ])
    await keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
    revoked = await keys.get(SYSTEM_PRINCIPAL, issued.key.id)
    assert revoked.revoked_at is not None
    await keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
    assert await keys.get(SYSTEM_PRINCIPAL, issued.key.id) == revoked


async def test_rotate_keeps_both_keys_active_until_the_given_time() -> None:
    now, user = START, make_user()
    storage = InMemoryStorage(clock=lambda: now)
    await store(storage, user)
    authenticator = Authenticator(storage=storage, peppers=PEPPERS, cache_ttl=0)
    keys = key_service(storage, now=lambda: now, authenticator=authenticator)
    fields: NewApiKey = {"name": "K", "scopes": [Scope.USERS_READ], "user_id": user.id, "expires_at": START + 9 * HOUR}
    old = await keys.create(SYSTEM_PRINCIPAL, **fields)
    new = await keys.rotate(SYSTEM_PRINCIPAL, old.key.id, until=START + HOUR)
    assert new.key == replace(
        old.key, id=new.key.id, secret_hash=new.key.secret_hash, family_secret=new.key.family_secret
    )
    assert new.key.id != old.key.id
    assert new.text[38:] != old.text[38:]
    for issued in (old, new):
        assert (await authenticator.authenticate(issued.text)).api_key_id == issued.key.id
    now = START + HOUR
    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate(old.text)
    assert (await authenticator.authenticate(new.text)).api_key_id == new.key.id
    assert (await keys.get(SYSTEM_PRINCIPAL, old.key.id)).revoked_at is None
    await authenticator.close()


async def test_rotate_keeps_the_family(storage: InMemoryStorage, keys: ApiKeyService) -> None:
    first = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ])
    second = await keys.rotate(SYSTEM_PRINCIPAL, first.key.id, until=SOON)
    third = await keys.rotate(SYSTEM_PRINCIPAL, second.key.id, until=SOON)
    other = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ])
    families = [
        (await keys.authenticator.authenticate(created.text)).family for created in (first, second, third, other)
    ]
    assert families[0] is not None
    assert families[3] is not None
    assert families[0].id == first.key.id
    assert families[:3] == [families[0]] * 3
    assert (families[3].id, families[3].secret == families[0].secret) == (other.key.id, False)
    assert len({key.family_secret for key in await stored_api_keys(storage)}) == 4
    assert repr(families[0].secret) not in repr(families)


async def test_rotate_keeps_the_family_without_the_pepper_of_the_old_key(storage: InMemoryStorage) -> None:
    old = await replace(key_service(storage), peppers=PepperSet({1: b"old"})).create(
        SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ]
    )
    during, after = PepperSet({1: b"old", 2: b"new"}), PepperSet({2: b"new"})
    new = await replace(key_service(storage), peppers=during).rotate(SYSTEM_PRINCIPAL, old.key.id, until=SOON)
    assert after.family_of(new.key) == during.family_of(old.key) is not None
    orphan = await replace(key_service(storage), peppers=after).rotate(SYSTEM_PRINCIPAL, old.key.id, until=SOON)
    assert orphan.key.family_id == orphan.key.id


async def test_rotate_starts_a_family_for_a_key_without_one(storage: InMemoryStorage, keys: ApiKeyService) -> None:
    old = make_api_key(family_id=None, family_secret=None)
    await store(storage, old)
    new = await keys.rotate(SYSTEM_PRINCIPAL, old.id, until=SOON)
    assert new.key.family_id == new.key.id


async def test_rotate_does_not_extend_the_old_key(keys: ApiKeyService) -> None:
    old = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], expires_at=START + HOUR)
    new = await keys.rotate(SYSTEM_PRINCIPAL, old.key.id, until=SOON)
    assert (await keys.get(SYSTEM_PRINCIPAL, old.key.id)).expires_at == START + HOUR
    assert new.key.expires_at == START + HOUR


@pytest.mark.parametrize("state", ["revoked", "expired"])
async def test_rotate_raises_not_found_for_inactive_key(state: str) -> None:
    now = START
    storage = InMemoryStorage(clock=lambda: now)
    keys = key_service(storage, now=lambda: now)
    old = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ], expires_at=SOON)
    if state == "revoked":
        await keys.revoke(SYSTEM_PRINCIPAL, old.key.id)
    now = SOON if state == "expired" else now
    with pytest.raises(ApiKeyNotFoundError):
        await keys.rotate(SYSTEM_PRINCIPAL, old.key.id, until=SOON + HOUR)
    assert len(await stored_api_keys(storage)) == 1


async def test_rotate_raises_forbidden_for_scopes_not_held(storage: InMemoryStorage, keys: ApiKeyService) -> None:
    old = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ, Scope.USERS_WRITE])
    with pytest.raises(ForbiddenError) as raised:
        await keys.rotate(unbound_principal(Scope.KEYS_ADMIN, Scope.USERS_READ), old.key.id, until=SOON)
    assert raised.value.scope is Scope.USERS_WRITE
    assert await stored_api_keys(storage) == [old.key]


async def test_new_key_expires_no_later_than_its_creator(storage: InMemoryStorage, keys: ApiKeyService) -> None:
    admin = replace(unbound_principal(*Scope), expires_at=SOON)
    for expires_at in (None, SOON + HOUR):
        with pytest.raises(ForbiddenError):
            await keys.create(admin, name="K", scopes=[Scope.USERS_READ], expires_at=expires_at)
    old = (await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ])).key
    with pytest.raises(ForbiddenError):
        await keys.rotate(admin, old.id, until=SOON)
    assert await stored_api_keys(storage) == [old]
    assert (await keys.create(admin, name="K", scopes=[Scope.USERS_READ], expires_at=SOON)).key.expires_at == SOON


async def test_revoke_invalidates_the_cache_when_the_commit_is_lost(storage: InMemoryStorage) -> None:
    authenticator = Authenticator(storage=storage, peppers=PEPPERS, cache_ttl=60)
    keys = key_service(storage, now=lambda: START, authenticator=authenticator)
    issued = await keys.create(SYSTEM_PRINCIPAL, name="K", scopes=[Scope.USERS_READ])
    await authenticator.authenticate(issued.text)
    failing = HookedStorage(storage, after=raising(StorageUnavailableError))
    keys = key_service(failing, now=lambda: START, authenticator=authenticator, retry=RetryPolicy(max_elapsed=0))
    with pytest.raises(StorageUnavailableError):
        await keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
    with pytest.raises(UnauthenticatedError):
        await authenticator.authenticate(issued.text)
