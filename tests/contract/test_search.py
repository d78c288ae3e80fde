"""Tests for the search of posts: matches, order and pages."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

from adapters.clock import new_id
from application.ports import Storage
from application.search import SearchHit, SearchPosition
from domain.posts import Post, PostStatus
from domain.search_tokens import parse_query
from domain.users import User
from tests.support.factories import make_post, make_user, newest_first, next_version, store


async def _search(storage: Storage, text: str, *, limit: int = 99, **filters: Any) -> Sequence[SearchHit]:
    async with storage.readonly() as work:
        return await work.posts.search(parse_query(text), limit=limit, **filters)


async def _found(storage: Storage, text: str, **arguments: Any) -> list[Post]:
    return [hit.post for hit in await _search(storage, text, **arguments)]


@pytest.mark.parametrize(
    ("text", "query", "is_found"),
    [
        ("On the Analytical Engine", "engine", True),
        ("On the Analytical Engine", "ENGINE on", True),
        ("On the Analytical Engine", "engine loom", False),
        ("On the Analytical Engine", "eng", False),
        ("On the Analytical Engine", "engines", False),
        ("the cat", "the", True),
        ("caf\u00e9", "CAFE\u0301", True),
        ("caf\u00e9", "cafe", True),
        ("cafe", "CAF\u00c9", True),
        ("\u0130stanbul", "\u0130stanbul", True),
        ("\u0130stanbul", "ISTANBUL", True),
        ("\u1c89\ua7dc", "\u1c89\ua7dc", True),  # capitals since Unicode 16
        ("Launch\U0001f680", "launch", True),
        ("100\u20ac", "100", True),
        ("soft\u00adhyphen", "softhyphen", True),
        ("\u6771\u4eac\u30bf\u30ef\u30fc", "\u6771\u4eac", True),
        ("\u6771\u4eac\u30bf\u30ef\u30fc", "\u30bf", True),
        ("\u6771\u4eac\u30bf\u30ef\u30fc", "\u4eac\u6771", False),
        ("website", "web*", True),
        ("web", "WEB*", True),
        ("we", "web*", False),
        ("it's", "IT'S", True),
        ("Stra\u00dfe", "STRASSE", True),
        ("well-known", "well-known", True),
        ("mail ada@example.org", "ADA@EXAMPLE.ORG", True),
        ("\U0001f989 owl", "\U0001f989 owl", True),
        ("\U0001f989 owl", "\U0001f989", False),
        ("a & b | !c", "& | ! c:*", True),
        ("a", "!!! ???", False),
        ("a", "* **", False),
        ("a <-> b", "b <-> a", True),
        ("x" * 200, "x" * 200, True),
        ("a", "\ufdfa" * 200, False),
        ("a", "\u3316" * 200, False),
    ],
)
@pytest.mark.parametrize("field", ["title", "content"])
async def test_search_matches_tokens_of_title_or_content(
    storage: Storage, user: User, *, field: str, text: str, query: str, is_found: bool
) -> None:
    post = make_post(user, **{"title": "T", "content": "C", field: text})
    await store(storage, post)
    expected = [SearchHit(post=post, in_title=field == "title")] if is_found else []
    assert await _search(storage, query) == expected


async def test_search_matches_title_and_content_together(storage: Storage, user: User) -> None:
    post = make_post(user, title="Analytical", content="engine")
    await store(storage, post)
    assert await _search(storage, "analytical engine") == [SearchHit(post=post, in_title=False)]
    assert await _found(storage, "analyticalengine") == []


async def test_search_compares_the_start_of_a_long_word(storage: Storage, user: User) -> None:
    post = make_post(user, title="other", content="\ufdf2" * 2000)
    await store(storage, post)
    assert await _found(storage, "other") == [post]
    assert await _found(storage, "\ufdf2" * 200) == [post]
    assert await _found(storage, "\ufdf2" * 20) == []


@pytest.mark.parametrize("term", ["'", "\\", "a'b", "a\\'b", "a & !b", "a:*", "'*", "\\*", "%s", "$1", ":x", "x" * 256])
async def test_search_finds_no_post_by_an_invalid_term(storage: Storage, user: User, term: str) -> None:
    await store(storage, make_post(user, title="a b x", content=term))
    async with storage.readonly() as work:
        assert await work.posts.search([term], limit=9) == []


async def test_search_returns_title_matches_first_then_newest(storage: Storage, user: User) -> None:
    texts = [("T", "owl"), ("owl", "C"), ("T", "owl"), ("owl", "C"), ("T", "C"), ("owl", "C"), ("T", "owl")]
    posts = [make_post(user, title=title, content=content) for title, content in texts]
    await store(storage, *posts)
    expected = [posts[number] for number in (5, 3, 1, 6, 2, 0)]
    assert await _found(storage, "owl") == expected
    for limit in range(1, 7):
        assert await _found(storage, "owl", limit=limit) == expected[:limit]
    hits = await _search(storage, "owl")
    for number, hit in enumerate(hits):
        for limit in (1, 2, 9):
            assert await _found(storage, "owl", after=hit.position, limit=limit) == expected[number + 1 :][:limit]


async def test_search_pages_are_complete_during_concurrent_writes(storage: Storage, user: User) -> None:
    def some(number: int) -> Post:
        return make_post(user, title="owl" if number % 2 else "T", content="an owl")

    await store(storage, *[some(number) for number in range(20)])
    unseen = list(await _search(storage, "owl"))
    seen: list[SearchHit] = []
    expected: list[SearchHit] = []
    after: SearchPosition | None = None
    while page := await _search(storage, "owl", limit=3, after=after):
        after = page[-1].position
        expected += unseen[: len(page)]
        seen += page
        gone = [page[-1], *unseen[len(page) : len(page) + 1]]
        unseen = unseen[len(page) + 1 :]
        if after.in_title:
            newer = make_post(user, title="T", content="owl")
            unseen = [*[hit for hit in unseen if hit.in_title], SearchHit(post=newer, in_title=False)] + [
                hit for hit in unseen if not hit.in_title
            ]
            await store(storage, newer)
        await store(storage, make_post(user, title="owl"))
        async with storage.transaction() as work:
            for hit in gone:
                await work.posts.delete(hit.post)
    assert seen == expected
    assert len(seen) > 15


async def test_search_finds_an_updated_post_by_its_new_text(storage: Storage, user: User) -> None:
    post = make_post(user, title="owl", content="C")
    await store(storage, post)
    changed = next_version(post, title="eagle", content="an owl")
    async with storage.transaction() as work:
        await work.posts.update(changed)
        assert await work.posts.search(["owl"], limit=9) == [SearchHit(post=changed, in_title=False)]
    assert await _search(storage, "eagle") == [SearchHit(post=changed, in_title=True)]


@pytest.mark.parametrize("status", [None, *PostStatus])
async def test_search_combines_author_status_reader_and_cursor(storage: Storage, status: PostStatus | None) -> None:
    one, two = make_user(), make_user()
    await store(storage, one, two)
    posts = [
        make_post(author, title=title, status=kind, content="second")
        for _, kind, author, title in product(range(2), PostStatus, (one, two), ("second", "T"))
    ]
    await store(storage, *posts)
    for author_id, reader_id in product((None, one.id, two.id), (None, one.id, two.id, new_id())):
        visible = [
            SearchHit(post=post, in_title=post.title == "second")
            for post in newest_first(posts)
            if author_id in {None, post.author_id}
            and status in {None, post.status}
            and (reader_id in {None, post.author_id} or post.status is PostStatus.PUBLISHED)
        ]
        expected = sorted(visible, key=lambda hit: not hit.in_title)
        filters = {"author_id": author_id, "status": status, "reader_id": reader_id}
        for limit, (start, after) in product(
            (99, 2), [(0, None), *[(n + 1, expected[n].position) for n in range(0, len(expected), 3)]]
        ):
            assert await _search(storage, "second", limit=limit, after=after, **filters) == expected[start:][:limit]
