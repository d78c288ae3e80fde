"""Tests for the use cases of users."""

from uuid import UUID

import pytest

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from application.authorization import SYSTEM_PRINCIPAL
from application.users import UserService
from domain.errors import FieldValidationError, VersionMismatchError
from domain.users import UserNotFoundError
from tests.support.service_factories import START, user_service


async def _write(users: UserService, verb: str, user_id: UUID, expected: int) -> None:
    if verb == "update":
        await users.update(SYSTEM_PRINCIPAL, user_id, expected=[expected], full_name="Else")
    else:
        await users.delete(SYSTEM_PRINCIPAL, user_id, expected=[expected])


async def test_create_user_stores_and_returns_the_user(storage: InMemoryStorage) -> None:
    chosen = new_id()
    users = user_service(storage, ids=lambda: chosen, now=lambda: START)
    user = await users.create(SYSTEM_PRINCIPAL, email="Ada@Example.org", full_name=" Ada ", is_active=False)
    assert (user.id, user.email, user.full_name, user.is_active) == (chosen, "Ada@Example.org", "Ada", False)
    assert (user.version, user.created_at, user.updated_at) == (1, START, START)
    assert await users.get(SYSTEM_PRINCIPAL, user.id) == user


async def test_create_user_makes_an_active_user_by_default(users: UserService) -> None:
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    assert (user.full_name, user.is_active) == (None, True)


async def test_create_user_stores_no_invalid_user(users: UserService) -> None:
    with pytest.raises(FieldValidationError):
        await users.create(SYSTEM_PRINCIPAL, email="ada")
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9)).items == []


async def test_update_user_stores_and_returns_the_new_version(users: UserService) -> None:
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org", full_name="Ada")
    changed = await users.update(SYSTEM_PRINCIPAL, user.id, email="lovelace@example.org")
    assert (changed.email, changed.full_name, changed.version) == ("lovelace@example.org", "Ada", 2)
    assert changed.updated_at > user.updated_at
    assert await users.get(SYSTEM_PRINCIPAL, user.id) == changed


async def test_noop_update_of_user_keeps_the_version(users: UserService) -> None:
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    assert await users.update(SYSTEM_PRINCIPAL, user.id, email="ada@example.org", is_active=True) == user
    assert await users.update(SYSTEM_PRINCIPAL, user.id) == user


@pytest.mark.parametrize("verb", ["update", "delete"])
async def test_user_use_case_raises_mismatch_for_other_versions(users: UserService, verb: str) -> None:
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    changed = await users.update(SYSTEM_PRINCIPAL, user.id, full_name="Ada", expected=[1])
    for wrong in (1, 3):
        with pytest.raises(VersionMismatchError):
            await _write(users, verb, user.id, wrong)
    assert await users.get(SYSTEM_PRINCIPAL, user.id) == changed
    await _write(users, verb, user.id, 2)


async def test_user_use_cases_raise_not_found_after_delete(users: UserService) -> None:
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    await users.delete(SYSTEM_PRINCIPAL, user.id)
    with pytest.raises(UserNotFoundError):
        await users.get(SYSTEM_PRINCIPAL, user.id)
    for verb in ("update", "delete"):
        with pytest.raises(UserNotFoundError):
            await _write(users, verb, user.id, 1)


async def test_list_users_filters_by_is_active(users: UserService) -> None:
    active = await users.create(SYSTEM_PRINCIPAL, email="a@example.org")
    inactive = await users.create(SYSTEM_PRINCIPAL, email="b@example.org", is_active=False)
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9, is_active=True)).items == [active]
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9, is_active=False)).items == [inactive]
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9)).items == [inactive, active]


async def test_list_users_combines_email_with_its_other_filters(users: UserService) -> None:
    user = await users.create(SYSTEM_PRINCIPAL, email="Zo\u00eb@example.org")
    later = await users.create(SYSTEM_PRINCIPAL, email="later@example.org")
    spelled = "ZOE\u0308@EXAMPLE.ORG"
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9, email=spelled)).items == [user]
    assert (await users.list(SYSTEM_PRINCIPAL, limit=1, email=spelled)).next_after is None
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9, email=spelled, is_active=True, after=later.id)).items == [user]
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9, email=spelled, is_active=False)).items == []
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9, email=spelled, after=user.id)).items == []
    assert (await users.list(SYSTEM_PRINCIPAL, limit=9, email="absent@example.org")).items == []
    with pytest.raises(FieldValidationError):
        await users.list(SYSTEM_PRINCIPAL, limit=9, email="ada")
