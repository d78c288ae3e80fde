"""Tests for pages of users, posts, API keys and search results."""

from functools import partial
from typing import Any
from uuid import UUID

import pytest

from adapters.memory.unit_of_work import InMemoryStorage
from application.authorization import SYSTEM_PRINCIPAL
from application.pagination import Page
from domain.users import User
from tests.support.factories import make_api_key, make_post, make_user, store
from tests.support.service_factories import key_service, post_service, user_service


@pytest.mark.parametrize(
    ("rows", "limit", "items", "has_next"),
    [(0, 1, 0, False), (1, 1, 1, False), (2, 1, 1, True), (2, 2, 2, False), (3, 2, 2, True)],
)
def test_page_has_next_cursor_when_rows_exceed_limit(rows: int, limit: int, items: int, has_next: bool) -> None:
    users = [make_user(id=UUID(int=9 - number)) for number in range(rows)]
    page = Page.from_rows(users, limit)
    assert page.items == users[:items]
    assert page.next_after == (users[items - 1].id if has_next else None)


@pytest.mark.parametrize("kind", ["users", "posts", "keys", "search"])
async def test_list_returns_consecutive_pages(storage: InMemoryStorage, user: User, kind: str) -> None:
    entities: list[Any]
    list_page: Any
    if kind == "users":
        entities, list_page = [user, *(make_user() for _ in range(4))], user_service(storage).list
    elif kind == "keys":
        entities, list_page = [make_api_key() for _ in range(5)], key_service(storage).list
    else:
        entities, posts = [make_post(user, title="owl") for _ in range(5)], post_service(storage)
        list_page = posts.list if kind == "posts" else partial(posts.search, query="owl")
    await store(storage, *entities)
    expected = entities[::-1]
    first = await list_page(SYSTEM_PRINCIPAL, limit=2)
    second = await list_page(SYSTEM_PRINCIPAL, limit=2, after=first.next_after)
    last = await list_page(SYSTEM_PRINCIPAL, limit=2, after=second.next_after)
    assert [first.items, second.items, last.items] == [expected[:2], expected[2:4], expected[4:]]
    assert last.next_after is None
    assert (await list_page(SYSTEM_PRINCIPAL, limit=5)).next_after is None
