"""The use cases about API keys, over memory."""

from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.system import new_id
from application.access import OPERATOR, ForbiddenError, UnauthenticatedError
from application.authentication import Authenticator
from application.credentials import key_id_of
from application.idempotency import IdempotencyKeyReusedError, Once, RepeatedError
from application.keys import ApiKeyService, IssuedKey
from application.ports import StorageUnavailableError
from application.transactions import Retry
from application.users import UserService
from domain.errors import InvalidValueError
from domain.keys import ApiKey, ApiKeyNotFoundError, KeyUserNotFoundError, Scope
from tests.support.callers import DeafStorage, bound, unbound
from tests.support.services import PEPPERS, START, key_service

HOUR = timedelta(hours=1)
SOON = START + timedelta(days=1)


@pytest.fixture
def keys(storage: InMemoryStorage) -> ApiKeyService:
    return key_service(storage)


async def stored(keys: ApiKeyService) -> list[ApiKey]:
    return list((await keys.list(OPERATOR, limit=99)).items)


async def test_a_key_that_was_created_can_be_got_and_opens_what_it_allows(
    storage: InMemoryStorage, keys: ApiKeyService
) -> None:
    issued = await keys.create(OPERATOR, name=" App ", scopes=[Scope.USERS_READ], expires_at=SOON)
    key = issued.key
    assert (key.name, key.scopes, key.user_id, key.expires_at) == ("App", frozenset({Scope.USERS_READ}), None, SOON)
    assert await keys.get(OPERATOR, key.id) == key
    assert key_id_of(issued.text) == key.id
    assert PEPPERS.matches(issued.text, key.secret)
    assert key.secret.pepper == 2
    caller = await keys.authenticator.authenticate(issued.text)
    assert (caller.key_id, caller.scopes, caller.user_id) == (key.id, key.scopes, None)
    async with storage.readonly() as work:
        assert issued.text not in repr(await work.keys.get(key.id))


async def test_every_key_has_a_secret_of_its_own(keys: ApiKeyService) -> None:
    texts = {(await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ])).text for _ in range(9)}
    assert len({text[38:70] for text in texts}) == 9


async def test_nobody_gives_what_they_have_not(keys: ApiKeyService) -> None:
    caller = unbound(Scope.KEYS_ADMIN, Scope.USERS_READ)
    with pytest.raises(ForbiddenError) as raised:
        await keys.create(caller, name="K", scopes=[Scope.USERS_READ, Scope.USERS_WRITE])
    assert raised.value.scope is Scope.USERS_WRITE
    assert await stored(keys) == []
    await keys.create(caller, name="K", scopes=[Scope.USERS_READ, Scope.KEYS_ADMIN])


async def test_a_bound_key_administers_no_keys(keys: ApiKeyService, users: UserService) -> None:
    ada = await users.register(OPERATOR, email="ada@example.org")
    with pytest.raises(InvalidValueError) as raised:
        await keys.create(OPERATOR, name="K", scopes=[Scope.KEYS_ADMIN], user_id=ada.id)
    assert raised.value.field == "scopes"
    with pytest.raises(ForbiddenError):
        await keys.create(bound(ada.id), name="K", scopes=[Scope.USERS_READ])
    assert await stored(keys) == []


async def test_a_key_is_bound_to_somebody_who_is_there(keys: ApiKeyService, users: UserService) -> None:
    with pytest.raises(KeyUserNotFoundError):
        await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], user_id=new_id())
    assert await stored(keys) == []
    ada = await users.register(OPERATOR, email="ada@example.org")
    issued = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], user_id=ada.id)
    assert (await keys.authenticator.authenticate(issued.text)).user_id == ada.id
    await users.erase(OPERATOR, ada.id)
    assert await stored(keys) == []


@pytest.mark.parametrize("field", ["name", "scopes", "expires_at"])
async def test_what_breaks_a_rule_is_not_stored(keys: ApiKeyService, field: str) -> None:
    name, scopes = ("" if field == "name" else "K"), [] if field == "scopes" else [Scope.USERS_READ]
    with pytest.raises(InvalidValueError) as raised:
        await keys.create(OPERATOR, name=name, scopes=scopes, expires_at=START if field == "expires_at" else None)
    assert raised.value.field == field
    assert await stored(keys) == []


async def test_no_key_is_there_that_is_not(keys: ApiKeyService) -> None:
    with pytest.raises(ApiKeyNotFoundError):
        await keys.get(OPERATOR, new_id())
    with pytest.raises(ApiKeyNotFoundError):
        await keys.revoke(OPERATOR, new_id())
    with pytest.raises(ApiKeyNotFoundError):
        await keys.rotate(OPERATOR, new_id(), until=SOON)
    assert await stored(keys) == []


async def test_pages_follow_each_other_to_the_last(keys: ApiKeyService) -> None:
    made = [(await keys.create(OPERATOR, name=f"{n}", scopes=[Scope.USERS_READ])).key for n in range(3)]
    first = await keys.list(OPERATOR, limit=2)
    assert (first.items, first.next_after) == ([made[2], made[1]], made[1].id)
    last = await keys.list(OPERATOR, limit=2, after=first.next_after)
    assert (last.items, last.next_after) == ([made[0]], None)


async def test_a_key_is_revoked_once_and_for_all(keys: ApiKeyService) -> None:
    issued = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ])
    await keys.revoke(OPERATOR, issued.key.id)
    revoked = await keys.get(OPERATOR, issued.key.id)
    assert revoked.revoked_at is not None
    await keys.revoke(OPERATOR, issued.key.id)
    assert await keys.get(OPERATOR, issued.key.id) == revoked


async def test_both_keys_are_live_while_they_overlap(storage: InMemoryStorage) -> None:
    now = START
    shared = Authenticator(storage=storage, now=lambda: now, peppers=PEPPERS, remembers=0)
    keys = key_service(storage, now=lambda: now, authenticator=shared)
    before = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], expires_at=START + 9 * HOUR)
    after = await keys.rotate(OPERATOR, before.key.id, until=START + HOUR)
    assert (after.key.name, after.key.scopes, after.key.expires_at) == (
        "K",
        frozenset({Scope.USERS_READ}),
        START + 9 * HOUR,
    )
    assert after.key.id != before.key.id
    assert after.text[38:] != before.text[38:]
    for issued in (before, after):
        assert (await shared.authenticate(issued.text)).key_id == issued.key.id
    ended = await keys.get(OPERATOR, before.key.id)
    assert (ended.expires_at, ended.revoked_at) == (START + HOUR, None)
    now = START + HOUR
    assert not ended.is_live(now)
    assert (await shared.authenticate(after.text)).key_id == after.key.id
    await shared.close()


async def test_an_end_that_comes_first_stays(keys: ApiKeyService) -> None:
    before = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], expires_at=START + HOUR)
    after = await keys.rotate(OPERATOR, before.key.id, until=SOON)
    assert (await keys.get(OPERATOR, before.key.id)).expires_at == START + HOUR
    assert after.key.expires_at == START + HOUR


async def test_a_rotated_key_stays_bound(keys: ApiKeyService, users: UserService) -> None:
    ada = await users.register(OPERATOR, email="ada@example.org")
    before = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], user_id=ada.id)
    assert (await keys.rotate(OPERATOR, before.key.id, until=SOON)).key.user_id == ada.id


@pytest.mark.parametrize("how", ["revoked", "expired"])
async def test_a_dead_key_is_not_rotated(storage: InMemoryStorage, how: str) -> None:
    now = START
    keys = key_service(storage, now=lambda: now)
    before = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], expires_at=SOON)
    if how == "revoked":
        await keys.revoke(OPERATOR, before.key.id)
    now = SOON if how == "expired" else now
    with pytest.raises(ApiKeyNotFoundError):
        await keys.rotate(OPERATOR, before.key.id, until=SOON + HOUR)
    assert len(await stored(keys)) == 1


async def test_nobody_rotates_to_what_they_have_not(keys: ApiKeyService) -> None:
    before = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ, Scope.USERS_WRITE])
    with pytest.raises(ForbiddenError) as raised:
        await keys.rotate(unbound(Scope.KEYS_ADMIN, Scope.USERS_READ), before.key.id, until=SOON)
    assert raised.value.scope is Scope.USERS_WRITE
    assert await stored(keys) == [before.key]


async def test_a_key_is_created_once(keys: ApiKeyService) -> None:
    admin = (await keys.create(OPERATOR, name="admin", scopes=Scope)).key

    def once(fingerprint: bytes) -> Once[IssuedKey]:
        return Once(
            key_id=admin.id,
            name=b"name",
            fingerprint=fingerprint,
            lasts=HOUR,
            answer=lambda issued: issued.key.id.bytes,
        )

    issued = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], once=once(b"a"))
    with pytest.raises(RepeatedError) as raised:
        await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ], once=once(b"a"))
    assert UUID(bytes=raised.value.outcome.answer) == issued.key.id
    with pytest.raises(IdempotencyKeyReusedError):
        await keys.create(OPERATOR, name="L", scopes=[Scope.USERS_READ], once=once(b"b"))
    assert len(await stored(keys)) == 2


async def test_no_key_outlasts_the_one_that_made_it(keys: ApiKeyService) -> None:
    admin = replace(unbound(*Scope), expires_at=SOON)
    for expires_at in (None, SOON + HOUR):
        with pytest.raises(ForbiddenError):
            await keys.create(admin, name="K", scopes=[Scope.USERS_READ], expires_at=expires_at)
    before = (await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ])).key
    with pytest.raises(ForbiddenError):
        await keys.rotate(admin, before.id, until=SOON)
    assert await stored(keys) == [before]
    assert (await keys.create(admin, name="K", scopes=[Scope.USERS_READ], expires_at=SOON)).key.expires_at == SOON


async def test_a_key_that_may_be_revoked_is_looked_at_anew(storage: InMemoryStorage) -> None:
    """The storage revoked it, and broke off before it said so."""
    shared = Authenticator(storage=storage, now=lambda: START, peppers=PEPPERS, remembers=60)
    keys = key_service(storage, now=lambda: START, authenticator=shared)
    issued = await keys.create(OPERATOR, name="K", scopes=[Scope.USERS_READ])
    await shared.authenticate(issued.text)
    deaf = key_service(DeafStorage(storage), now=lambda: START, authenticator=shared, retry=Retry(deadline=0))
    with pytest.raises(StorageUnavailableError):
        await deaf.revoke(OPERATOR, issued.key.id)
    with pytest.raises(UnauthenticatedError):
        await shared.authenticate(issued.text)
