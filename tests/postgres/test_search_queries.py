"""Tests for the search of posts: each query plan returns the same pages."""

from collections.abc import Iterator
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from sqlalchemy import literal_column

from adapters.memory.unit_of_work import InMemoryStorage
from adapters.postgres.repositories import post_search
from application.ports import Storage
from application.search import SearchHit
from domain.posts import PostStatus
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import PUBLISHED, make_post, make_user, store_posts, store_users

PLANS = {"scan in order": 99, "sort": 0, "scan to the last post, then sort": 1}
TEXTS = [("owl", "C"), ("T", "an owl"), ("T", "C"), ("an owl", "owl"), ("T", "owl eagle"), ("eagle owl", "C")]
QUERIES = (["owl"], ["eagle", "owl"], ["ea*", "owl"])


@pytest.fixture(params=list(PLANS.values()), ids=list(PLANS))
def _plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Select the plan by the limit of the scan."""
    monkeypatch.setattr(post_search, "_SCAN_ROWS_PER_ITEM", literal_column(str(request.param)))
    post_search.search_statement.cache_clear()
    yield
    post_search.search_statement.cache_clear()


@pytest.mark.parametrize("driver", ["asyncpg"])  # contract/test_search.py runs on both
@pytest.mark.usefixtures("_plan")
async def test_search_plans_return_the_same_pages_as_memory(store: DatabaseFixture) -> None:
    users = [make_user(), make_user()]
    posts = [
        make_post(user, title=title, content=content, status=status, published_at=_published(status))
        for (title, content), status, user in product(TEXTS, PostStatus, users)
    ]
    storages: list[Storage] = [InMemoryStorage(), store.storage]
    for storage in storages:
        await store_users(storage, *users)
        await store_posts(storage, *posts)
    ids = [None, users[0].id]
    for terms, status, author_id, reader_id in product(QUERIES, [None, PostStatus.PUBLISHED], ids, ids):
        filters: dict[str, Any] = {"status": status, "author_id": author_id, "reader_id": reader_id}
        memory, postgres = [await _pages(storage, terms, **filters) for storage in storages]
        assert memory == postgres


def _published(status: PostStatus) -> datetime | None:
    return None if status is PostStatus.DRAFT else PUBLISHED


async def _pages(storage: Storage, terms: list[str], **filters: Any) -> list[list[SearchHit]]:
    """Return all pages of four hits each."""
    pages: list[list[SearchHit]] = [[]]
    async with storage.readonly() as work:
        while len(pages) == 1 or pages[-1]:
            after = pages[-1][-1].position if pages[-1] else None
            pages.append(list(await work.posts.search(terms, limit=4, after=after, **filters)))
    return pages
