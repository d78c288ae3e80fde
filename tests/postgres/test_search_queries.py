"""Tests for the search of posts: each query plan returns the same pages, and the tokens equal those of the domain."""

import unicodedata
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
from domain.search_tokens import tokenize
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import PUBLISHED, make_post, make_user, store_posts, store_users

PLANS = {
    "scan in order": (99, 9999),
    "sort": (0, 9999),
    "sort because of long posts": (99, 0),
    "scan to the last post, then sort": (1, 9999),
    "scan to the size limit, then sort": (99, 9),
}
IN_DATABASE = "SELECT tsvector_to_array(search_tokens(t)) FROM unnest(%s::text[]) WITH ORDINALITY AS x(t, n) ORDER BY n"
TEXTS = [("owl", "C"), ("T", "an owl"), ("T", "C"), ("an owl", "owl"), ("T", "owl eagle"), ("eagle owl", "C")]
QUERIES = (["owl"], ["eagle", "owl"])


@pytest.fixture(params=list(PLANS.values()), ids=list(PLANS))
def _plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Select the plan by the limits of the scan."""
    for name, number in zip(("_SCAN_ROWS_PER_ITEM", "_SCAN_BYTES_PER_ITEM"), request.param, strict=True):
        monkeypatch.setattr(post_search, name, literal_column(str(number)))
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
    for tokens, status, author_id, reader_id in product(QUERIES, [None, PostStatus.PUBLISHED], ids, ids):
        filters: dict[str, Any] = {"status": status, "author_id": author_id, "reader_id": reader_id}
        memory, postgres = [await _pages(storage, tokens, **filters) for storage in storages]
        assert memory == postgres


def _published(status: PostStatus) -> datetime | None:
    return None if status is PostStatus.DRAFT else PUBLISHED


async def _pages(storage: Storage, tokens: list[str], **filters: Any) -> list[list[SearchHit]]:
    """Return all pages of four hits each."""
    pages: list[list[SearchHit]] = [[]]
    async with storage.readonly() as work:
        while len(pages) == 1 or pages[-1]:
            after = pages[-1][-1].position if pages[-1] else None
            pages.append(list(await work.posts.search(tokens, limit=4, after=after, **filters)))
    return pages


@pytest.mark.parametrize("driver", ["psycopg"])
def test_search_tokens_of_every_character_match_the_domain(store: DatabaseFixture) -> None:
    known = [chr(n) for n in range(1, 0x110000) if unicodedata.category(chr(n)) not in {"Cn", "Cs", "Co"}]
    assert len(known) > 140_000
    samples = [f"a{character}B {character} {character}{character}" for character in known]
    texts = [" ".join(samples[start : start + 50]) for start in range(0, len(samples), 50)]
    rows = store.admin.execute(IN_DATABASE, [texts]).fetchall()
    differing = [text for text, (tokens,) in zip(texts, rows, strict=True) if set(tokens) != tokenize(text)]  # type: ignore[call-overload]
    assert differing == []
