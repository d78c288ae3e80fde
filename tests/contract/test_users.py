"""Tests for the repository of users: normalized e-mail addresses."""

import pytest

from application.ports import Storage
from domain.users import EmailAlreadyRegisteredError
from tests.support.factories import (
    delete,
    make_user,
    next_version,
    store,
    stored_users,
    update,
)


async def test_user_repository_compares_normalized_emails(storage: Storage) -> None:
    one, other = "zo\u00eb@b\u00fccher.example", "ZOE\u0308@xn--bcher-kva.example"
    user, second = make_user(email=one), make_user()
    await store(storage, user, second)
    async with storage.readonly() as work:
        assert await work.users.find_by_email(other) == user
    with pytest.raises(EmailAlreadyRegisteredError):
        await store(storage, make_user(email=other))
    with pytest.raises(EmailAlreadyRegisteredError):
        await update(storage, next_version(second, email=other))
    assert await stored_users(storage) == [second, user]
    respelled = next_version(user, email=other)
    await update(storage, respelled)
    assert await stored_users(storage) == [second, respelled]


async def test_find_by_email_returns_null_for_unknown_email(storage: Storage) -> None:
    user = make_user()
    await store(storage, user)
    await store(storage, make_user(id=user.id, email="else@example.org"))
    async with storage.readonly() as work:
        assert await work.users.find_by_email("absent@example.org") is None
        assert await work.users.find_by_email("else@example.org") is None


@pytest.mark.parametrize("change", ["update", "delete"])
async def test_email_is_free_after_update_or_delete_of_its_user(storage: Storage, change: str) -> None:
    user, successor = make_user(), make_user(email="Ada@example.org")
    await store(storage, user)
    await update(storage, next_version(user, email="ada@example.org", full_name=None))
    async with storage.readonly() as work:
        assert await work.users.find_by_email(user.email) is None
        owner = await work.users.find_by_email("ADA@example.org")
    assert owner == next_version(user, email="ada@example.org", full_name=None)
    if change == "update":
        await update(storage, next_version(owner, email="new@example.org"))
    else:
        await delete(storage, owner)
    await store(storage, successor)
    async with storage.readonly() as work:
        assert await work.users.find_by_email("ada@example.org") == successor
