"""The use cases about users, over memory."""

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.system import new_id
from application.access import OPERATOR
from application.posts import PostService
from application.users import UserService
from domain.errors import InvalidValueError, VersionMismatchError
from domain.posts import PostNotFoundError
from domain.users import EmailAlreadyRegisteredError, User, UserNotFoundError
from tests.support.services import START, user_service


async def test_a_user_who_registers_can_be_got(users: UserService) -> None:
    user = await users.register(OPERATOR, email="Ada@Example.org", full_name=" Ada ", is_active=False)
    assert (user.email, user.full_name, user.is_active) == ("Ada@Example.org", "Ada", False)
    assert (user.version, user.created_at, user.updated_at) == (1, START, START)
    assert await users.get(OPERATOR, user.id) == user


async def test_by_default_a_user_is_active_and_has_no_name(users: UserService) -> None:
    user = await users.register(OPERATOR, email="ada@example.org")
    assert (user.full_name, user.is_active) == (None, True)


async def test_time_and_id_are_those_that_were_injected(storage: InMemoryStorage) -> None:
    chosen = new_id()
    user = await user_service(storage, ids=lambda: chosen, now=lambda: START).register(
        OPERATOR, email="ada@example.org"
    )
    assert (user.id, user.created_at) == (chosen, START)


async def test_what_breaks_a_rule_is_not_stored(users: UserService) -> None:
    with pytest.raises(InvalidValueError):
        await users.register(OPERATOR, email="ada")
    assert (await users.list(OPERATOR, limit=9)).items == []


async def test_an_address_is_registered_once(users: UserService) -> None:
    await users.register(OPERATOR, email="ada@example.org")
    with pytest.raises(EmailAlreadyRegisteredError):
        await users.register(OPERATOR, email="ADA@example.org")


async def test_nobody_is_got_who_is_not_there(users: UserService) -> None:
    with pytest.raises(UserNotFoundError):
        await users.get(OPERATOR, new_id())


async def test_a_change_is_stored_and_returned(users: UserService) -> None:
    user = await users.register(OPERATOR, email="ada@example.org", full_name="Ada")
    changed = await users.change(OPERATOR, user.id, email="lovelace@example.org")
    assert (changed.email, changed.full_name, changed.version) == ("lovelace@example.org", "Ada", 2)
    assert changed.updated_at > user.updated_at
    assert await users.get(OPERATOR, user.id) == changed


async def test_a_change_that_changes_nothing_is_none(users: UserService) -> None:
    user = await users.register(OPERATOR, email="ada@example.org")
    assert await users.change(OPERATOR, user.id, email="ada@example.org", is_active=True) == user
    assert await users.change(OPERATOR, user.id) == user


@pytest.mark.parametrize("verb", ["change", "erase"])
async def test_the_expected_version_has_to_be_the_stored_one(users: UserService, verb: str) -> None:
    user = await users.register(OPERATOR, email="ada@example.org")
    changed = await users.change(OPERATOR, user.id, full_name="Ada", expected=[1])
    for wrong in (1, 3):
        with pytest.raises(VersionMismatchError):
            await _do(users, verb, user, wrong)
    assert await users.get(OPERATOR, user.id) == changed
    await _do(users, verb, user, 2)


async def _do(users: UserService, verb: str, user: User, expected: int) -> None:
    if verb == "change":
        await users.change(OPERATOR, user.id, expected=[expected], full_name="Else")
    else:
        await users.erase(OPERATOR, user.id, expected=[expected])


async def test_nobody_is_changed_or_erased_who_is_not_there(users: UserService) -> None:
    for verb in ("change", "erase"):
        with pytest.raises(UserNotFoundError):
            await _do(
                users, verb, User.registered(id=new_id(), email="a@b.cd", full_name=None, is_active=True, now=START), 1
            )


async def test_a_change_to_the_address_of_another_is_refused(users: UserService) -> None:
    await users.register(OPERATOR, email="ada@example.org")
    bob = await users.register(OPERATOR, email="bob@example.org")
    with pytest.raises(EmailAlreadyRegisteredError):
        await users.change(OPERATOR, bob.id, email="Ada@example.org")
    assert await users.get(OPERATOR, bob.id) == bob


async def test_erasing_a_user_erases_the_posts(users: UserService, posts: PostService) -> None:
    user = await users.register(OPERATOR, email="ada@example.org")
    post = await posts.write(OPERATOR, author_id=user.id, title="T", content="C")
    await users.erase(OPERATOR, user.id)
    with pytest.raises(UserNotFoundError):
        await users.get(OPERATOR, user.id)
    with pytest.raises(PostNotFoundError):
        await posts.get(OPERATOR, post.id)


async def test_pages_follow_each_other_to_the_last(users: UserService) -> None:
    everybody = [await users.register(OPERATOR, email=f"u{number}@example.org") for number in range(5)]
    first = await users.list(OPERATOR, limit=2)
    assert (first.items, first.next_after) == ([everybody[4], everybody[3]], everybody[3].id)
    second = await users.list(OPERATOR, limit=2, after=first.next_after)
    assert (second.items, second.next_after) == ([everybody[2], everybody[1]], everybody[1].id)
    last = await users.list(OPERATOR, limit=2, after=second.next_after)
    assert (last.items, last.next_after) == ([everybody[0]], None)
    assert (await users.list(OPERATOR, limit=5)).next_after is None


async def test_the_active_and_the_others_are_listed_apart(users: UserService) -> None:
    active = await users.register(OPERATOR, email="a@example.org")
    inactive = await users.register(OPERATOR, email="b@example.org", is_active=False)
    assert (await users.list(OPERATOR, limit=9, is_active=True)).items == [active]
    assert (await users.list(OPERATOR, limit=9, is_active=False)).items == [inactive]
    assert (await users.list(OPERATOR, limit=9)).items == [inactive, active]


async def test_a_user_is_found_by_the_address_within_the_other_filters(users: UserService) -> None:
    user = await users.register(OPERATOR, email="Zo\u00eb@example.org")
    later = await users.register(OPERATOR, email="later@example.org")
    spelled = "ZOE\u0308@EXAMPLE.ORG"
    assert (await users.list(OPERATOR, limit=9, email=spelled)).items == [user]
    assert (await users.list(OPERATOR, limit=1, email=spelled)).next_after is None
    assert (await users.list(OPERATOR, limit=9, email=spelled, is_active=True, after=later.id)).items == [user]
    assert (await users.list(OPERATOR, limit=9, email=spelled, is_active=False)).items == []
    assert (await users.list(OPERATOR, limit=9, email=spelled, after=user.id)).items == []
    assert (await users.list(OPERATOR, limit=9, email="nobody@example.org")).items == []
    with pytest.raises(InvalidValueError):
        await users.list(OPERATOR, limit=9, email="nobody")
