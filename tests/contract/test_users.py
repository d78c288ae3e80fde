"""Tests for the repository of users: normalized e-mail addresses, and deletion with posts."""

from dataclasses import replace

import pytest

from application.ports import ConcurrentUpdateError, Storage
from domain.users import EmailAlreadyRegisteredError
from tests.support.factories import (
    delete,
    make_post,
    make_user,
    next_version,
    store,
    stored_posts,
    stored_users,
    update,
)

SPELLINGS = [
    pytest.param("Ada@Example.org", "aDA@eXAMPLE.ORG", id="case"),
    pytest.param("zo\u00eb@example.org", "zoe\u0308@example.org", id="composed and decomposed"),
    pytest.param("zo\u00eb@b\u00fccher.example", "ZOE\u0308@xn--bcher-kva.example", id="IDNA"),
    pytest.param("\uff41\uff44\uff41@example.org", "ada@example.org", id="compatibility form"),
    pytest.param("stra\u00dfe@example.org", "STRASSE@example.org", id="case folding"),
    pytest.param("ada@b\u00fccher.example", "ada@bu\u0308cher.example", id="domain decomposed"),
]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
async def test_user_repository_compares_normalized_emails(storage: Storage, one: str, other: str) -> None:
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


async def test_user_repository_delete_includes_the_posts(storage: Storage) -> None:
    user, bystander = make_user(version=2), make_user()
    own, kept = make_post(user), make_post(bystander)
    await store(storage, user, bystander, own, kept)
    for version in (1, 3):
        with pytest.raises(ConcurrentUpdateError):
            await delete(storage, replace(user, version=version))
    assert await stored_posts(storage) == [kept, own]
    await delete(storage, user)
    assert (await stored_users(storage), await stored_posts(storage)) == ([bystander], [kept])
