"""`UserRepository`: each sentence of its docstrings, over every storage."""

from uuid import UUID

import pytest

from adapters.system import new_id
from application.ports import ConcurrentChangeError, Storage
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError
from tests.support.examples import a_post, a_user, next_version, store_posts, store_users, stored_posts, stored_users

SPELLINGS = [
    pytest.param("Ada@Example.org", "aDA@eXAMPLE.ORG", id="case"),
    pytest.param("zo\u00eb@example.org", "zoe\u0308@example.org", id="composed and decomposed"),
    pytest.param("zo\u00eb@b\u00fccher.example", "ZOE\u0308@xn--bcher-kva.example", id="IDNA"),
    pytest.param("\uff41\uff44\uff41@example.org", "ada@example.org", id="compatibility form"),
    pytest.param("stra\u00dfe@example.org", "STRASSE@example.org", id="case folding"),
    pytest.param("ada@b\u00fccher.example", "ada@bu\u0308cher.example", id="domain decomposed"),
]
GROWING = "\u33af" * 21 + "@example.org"  # NFKC makes six characters of each
LONGEST = "x" * 64 + "@" + ".".join(["y" * 61] * 3) + ".abc"


@pytest.mark.parametrize(
    "user",
    [
        pytest.param(a_user(), id="unicode"),
        pytest.param(a_user(full_name=None, is_active=False, version=2_147_483_647), id="none and inactive"),
        pytest.param(a_user(email=LONGEST, full_name="\U0001f989" * 200), id="longest"),
        pytest.param(a_user(email=GROWING), id="longest key"),
        pytest.param(a_user(email="a@b.cd", full_name="x"), id="shortest"),
    ],
)
async def test_what_was_added_is_read_as_it_was(storage: Storage, user: User) -> None:
    await store_users(storage, user)
    async with storage.readonly() as work:
        read = await work.users.get(user.id)
        assert read == user
        assert await work.users.find_by_email(user.email) == user
        assert await work.users.list(limit=1) == [user]
    assert (type(read.email), type(read.is_active), isinstance(read.id, UUID)) == (str, bool, True)
    assert read.created_at.utcoffset() == read.updated_at.utcoffset() == user.created_at.utcoffset()


async def test_get_raises_when_there_is_no_such_user(storage: Storage) -> None:
    await store_users(storage, a_user())
    async with storage.readonly() as work:
        with pytest.raises(UserNotFoundError):
            await work.users.get(new_id())


async def test_find_by_email_returns_none_when_there_is_none(storage: Storage) -> None:
    await store_users(storage, a_user())
    async with storage.readonly() as work:
        assert await work.users.find_by_email("nobody@example.org") is None


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
async def test_find_by_email_knows_every_spelling(storage: Storage, one: str, other: str) -> None:
    user = a_user(email=one)
    await store_users(storage, user, a_user())
    async with storage.readonly() as work:
        assert await work.users.find_by_email(other) == user


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
async def test_add_refuses_the_address_of_another_user(storage: Storage, one: str, other: str) -> None:
    first = a_user(email=one)
    await store_users(storage, first)
    with pytest.raises(EmailAlreadyRegisteredError):
        await store_users(storage, a_user(email=other))
    assert await stored_users(storage) == [first]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
async def test_update_refuses_the_address_of_another_user(storage: Storage, one: str, other: str) -> None:
    first, second = a_user(email=one), a_user()
    await store_users(storage, first, second)
    with pytest.raises(EmailAlreadyRegisteredError):
        async with storage.transaction() as work:
            await work.users.update(next_version(second, email=other))
    assert await stored_users(storage) == [second, first]


@pytest.mark.parametrize(("one", "other"), SPELLINGS)
async def test_a_user_can_change_the_spelling_of_the_address(storage: Storage, one: str, other: str) -> None:
    user = a_user(email=one)
    await store_users(storage, user)
    changed = next_version(user, email=other)
    async with storage.transaction() as work:
        await work.users.update(changed)
    assert await stored_users(storage) == [changed]


async def test_add_leaves_a_user_that_is_there_as_it_is(storage: Storage) -> None:
    user = a_user()
    await store_users(storage, user)
    await store_users(storage, user)
    await store_users(storage, a_user(id=user.id, email="else@example.org", full_name="Else", version=7))
    assert await stored_users(storage) == [user]
    async with storage.readonly() as work:
        assert await work.users.find_by_email("else@example.org") is None


async def test_add_leaves_a_user_that_was_changed_since_as_it_is(storage: Storage) -> None:
    user = a_user()
    await store_users(storage, user)
    changed = next_version(user, email="new@example.org")
    async with storage.transaction() as work:
        await work.users.update(changed)
    await store_users(storage, user)
    assert await stored_users(storage) == [changed]


async def test_update_stores_every_field_that_can_change(storage: Storage) -> None:
    user, bystander = a_user(), a_user()
    await store_users(storage, user, bystander)
    changed = next_version(user, email="new@example.org", full_name=None, is_active=False)
    async with storage.transaction() as work:
        await work.users.update(changed)
    async with storage.readonly() as work:
        assert await work.users.get(user.id) == changed
        assert await work.users.get(bystander.id) == bystander
        assert await work.users.find_by_email("NEW@example.org") == changed
        assert await work.users.find_by_email(user.email) is None


async def test_an_address_that_was_given_up_is_free(storage: Storage) -> None:
    user = a_user()
    await store_users(storage, user)
    async with storage.transaction() as work:
        await work.users.update(next_version(user, email="new@example.org"))
    successor = a_user(email=user.email)
    await store_users(storage, successor)
    async with storage.readonly() as work:
        assert await work.users.find_by_email(user.email) == successor


@pytest.mark.parametrize("version", [1, 2, 4, 5])
async def test_update_refuses_all_but_the_next_version(storage: Storage, version: int) -> None:
    user = a_user(version=2)
    await store_users(storage, user)
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await work.users.update(a_user(id=user.id, email=user.email, version=version))
    assert await stored_users(storage) == [user]


async def test_update_refuses_a_user_that_is_not_there(storage: Storage) -> None:
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await work.users.update(a_user(version=2))
    assert await stored_users(storage) == []


async def test_remove_erases_the_user_and_all_posts_by_that_user(storage: Storage) -> None:
    user, bystander = a_user(), a_user()
    await store_users(storage, user, bystander)
    await store_posts(storage, *[a_post(user) for _ in range(3)])
    kept = a_post(bystander)
    await store_posts(storage, kept)
    async with storage.transaction() as work:
        await work.users.remove(user)
    assert await stored_users(storage) == [bystander]
    assert await stored_posts(storage) == [kept]


async def test_the_address_of_an_erased_user_is_free(storage: Storage) -> None:
    user = a_user()
    await store_users(storage, user)
    async with storage.transaction() as work:
        await work.users.remove(user)
    successor = a_user(email=user.email)
    await store_users(storage, successor)
    assert await stored_users(storage) == [successor]


@pytest.mark.parametrize("version", [1, 3])
async def test_remove_refuses_another_version(storage: Storage, version: int) -> None:
    user = a_user(version=2)
    await store_users(storage, user)
    post = a_post(user)
    await store_posts(storage, post)
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await work.users.remove(a_user(id=user.id, version=version))
    assert (await stored_users(storage), await stored_posts(storage)) == ([user], [post])


async def test_remove_refuses_a_user_that_is_not_there(storage: Storage) -> None:
    with pytest.raises(ConcurrentChangeError):
        async with storage.transaction() as work:
            await work.users.remove(a_user())
