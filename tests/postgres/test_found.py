"""The ways in which posts are found by words, whichever is taken: all find the same."""

from collections.abc import Iterator
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from sqlalchemy import literal_column

from adapters.memory.storage import InMemoryStorage
from adapters.postgres import post_pages
from application.ports import Storage
from application.search import Hit
from domain.posts import PostStatus
from tests.support.examples import PUBLISHED, a_post, a_user, store_posts, store_users
from tests.support.stores import Store

WAYS = {
    "a walk": (99, 9999),
    "sorted at once": (0, 9999),
    "sorted, since the newest are long": (99, 0),
    "each where posts end": (1, 9999),
    "each where the walk is long enough": (99, 9),
}
TEXTS = [("owl", "C"), ("T", "an owl"), ("T", "C"), ("an owl", "owl"), ("T", "owl eagle"), ("eagle owl", "C")]


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def _way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Have posts found in that way."""
    for name, number in zip(("_SOON", "_SHORT"), request.param, strict=True):
        monkeypatch.setattr(post_pages, name, literal_column(str(number)))
    post_pages.found.cache_clear()
    yield
    post_pages.found.cache_clear()


@pytest.mark.usefixtures("_way")
async def test_every_way_finds_the_same(store: Store) -> None:
    users = [a_user(), a_user()]
    posts = [
        a_post(user, title=title, content=content, status=status, published_at=_published(status))
        for _, (title, content), status, user in product(range(2), TEXTS, PostStatus, users)
    ]
    storages: list[Storage] = [InMemoryStorage(), store.storage]
    for storage in storages:
        await store_users(storage, *users)
        await store_posts(storage, *posts)
    ids = [None, users[0].id]
    for words, status, author_id, reader_id in product((["owl"], ["eagle", "owl"]), [None, *PostStatus], ids, ids):
        given: dict[str, Any] = {"status": status, "author_id": author_id, "reader_id": reader_id}
        memory, postgres = [await _pages(storage, words, **given) for storage in storages]
        assert memory == postgres


def _published(status: PostStatus) -> datetime | None:
    return None if status is PostStatus.DRAFT else PUBLISHED


async def _pages(storage: Storage, words: list[str], **given: Any) -> list[list[Hit]]:
    """Return the pages, of three hits each, until the last one."""
    pages: list[list[Hit]] = [[]]
    async with storage.readonly() as work:
        while len(pages) == 1 or pages[-1]:
            after = pages[-1][-1].place if pages[-1] else None
            pages.append(list(await work.posts.search(words, limit=3, after=after, **given)))
    return pages
