"""`PostRepository.search`: which posts are found, in which order, and pages that neither skip nor repeat."""

from collections.abc import Sequence
from itertools import product
from typing import Any

import pytest

from adapters.system import new_id
from application.ports import Storage
from application.search import Hit, Place
from domain.posts import Post, PostStatus
from domain.users import User
from domain.words import words_of
from tests.support.examples import PUBLISHED, a_post, a_user, newest_first, next_version, store_posts, store_users


async def _search(storage: Storage, text: str, *, limit: int = 99, **filters: Any) -> Sequence[Hit]:
    async with storage.readonly() as work:
        return await work.posts.search(words_of(text), limit=limit, **filters)


async def _found(storage: Storage, text: str, **arguments: Any) -> list[Post]:
    return [hit.post for hit in await _search(storage, text, **arguments)]


@pytest.fixture
async def author(storage: Storage) -> User:
    author = a_user()
    await store_users(storage, author)
    return author


@pytest.mark.parametrize(
    ("written", "asked", "is_found"),
    [
        ("On the Analytical Engine", "engine", True),
        ("On the Analytical Engine", "ENGINE on", True),
        ("On the Analytical Engine", "engine loom", False),
        ("On the Analytical Engine", "eng", False),
        ("On the Analytical Engine", "engines", False),
        ("the cat", "the", True),
        ("caf\u00e9", "CAFE\u0301", True),
        ("caf\u00e9", "cafe", False),
        ("Stra\u00dfe", "STRASSE", True),
        ("\u039b\u039f\u0393\u039f\u03a3", "\u03bb\u03bf\u03b3\u03bf\u03c2", True),
        ("\u0130zmir", "izmir", True),
        ("\uff28\uff45\uff58\uff41", "hexa", True),
        ("well-known", "known", True),
        ("well-known", "well-known", True),
        ("see https://example.org/a_b?c=1", "example b", True),
        ("mail ada@example.org", "ADA@EXAMPLE.ORG", True),
        ("pi is 3.14", "14", True),
        ("it's", "it\u2019s", True),
        ("\u201cquoted\u201d", "quoted", True),
        ("\u0642\u0644\u0645\u060c", "\u0642\u0644\u0645", True),
        ("\U0001f989 owl", "\U0001f989", True),
        ("a & b | !c", "& | ! c:*", True),
        ("a", "!!! ???", False),
        ("a <-> b", "b <-> a", True),
        ("x" * 200, "x" * 200, True),
        ("a", "\ufdfa" * 200, False),
        ("a", "\u3316" * 200, False),
    ],
)
@pytest.mark.parametrize("place", ["title", "content"])
async def test_what_finds_what(
    storage: Storage, author: User, *, place: str, written: str, asked: str, is_found: bool
) -> None:
    post = a_post(author, **{"title": "T", "content": "C", place: written})
    await store_posts(storage, post)
    expected = [Hit(post=post, in_title=place == "title")] if is_found else []
    assert await _search(storage, asked) == expected


async def test_words_may_be_found_in_title_and_content_together(storage: Storage, author: User) -> None:
    post = a_post(author, title="Analytical", content="engine")
    await store_posts(storage, post)
    assert await _search(storage, "analytical engine") == [Hit(post=post, in_title=False)]
    assert await _found(storage, "analyticalengine") == []


async def test_the_longest_content_of_one_word_is_stored_and_found_by_others(storage: Storage, author: User) -> None:
    post = a_post(author, title="other", content="\U0001f989" * 2000)
    await store_posts(storage, post)
    assert await _found(storage, "other") == [post]
    assert await _found(storage, "\U0001f989" * 200) == []


@pytest.mark.parametrize("word", ["'", "\\", "a'b", "a\\'b", "a & !b", "a:*", "", " ", "%s", "$1", ":x", "x" * 256])
async def test_what_is_no_word_finds_nothing(storage: Storage, author: User, word: str) -> None:
    await store_posts(storage, a_post(author, title="a b x", content=word or "c"))
    async with storage.readonly() as work:
        assert await work.posts.search([word], limit=9) == []


async def test_titles_come_first_and_then_the_newest(storage: Storage, author: User) -> None:
    places = ["content", "title", "content", "title", "neither", "title", "content"]
    posts = [
        a_post(author, title="owl" if place == "title" else "T", content="owl" if place == "content" else "C")
        for place in places
    ]
    await store_posts(storage, *posts)
    expected = [posts[place] for place in (5, 3, 1, 6, 2, 0)]
    assert await _found(storage, "owl") == expected
    for limit in range(1, 7):
        assert await _found(storage, "owl", limit=limit) == expected[:limit]
    hits = await _search(storage, "owl")
    for number, hit in enumerate(hits):
        for limit in (1, 2, 9):
            assert await _found(storage, "owl", after=hit.place, limit=limit) == expected[number + 1 :][:limit]


async def test_pages_neither_skip_nor_repeat_while_others_add_and_remove(storage: Storage, author: User) -> None:
    def some(number: int) -> Post:
        return a_post(author, title="owl" if number % 2 else "T", content="an owl")

    await store_posts(storage, *[some(number) for number in range(20)])
    unseen = list(await _search(storage, "owl"))
    seen: list[Hit] = []
    expected: list[Hit] = []
    after: Place | None = None
    while page := await _search(storage, "owl", limit=3, after=after):
        after = page[-1].place
        expected += unseen[: len(page)]
        seen += page
        gone = [page[-1], *unseen[len(page) : len(page) + 1]]
        unseen = unseen[len(page) + 1 :]
        if after.in_title:
            newer = a_post(author, title="T", content="owl")
            unseen = [*[hit for hit in unseen if hit.in_title], Hit(post=newer, in_title=False)] + [
                hit for hit in unseen if not hit.in_title
            ]
            await store_posts(storage, newer)
        await store_posts(storage, a_post(author, title="owl"))
        async with storage.transaction() as work:
            for hit in gone:
                await work.posts.remove(hit.post)
    assert seen == expected
    assert len(seen) > 15


async def test_a_change_changes_what_finds_it(storage: Storage, author: User) -> None:
    post = a_post(author, title="owl", content="C")
    await store_posts(storage, post)
    changed = next_version(post, title="eagle", content="an owl")
    async with storage.transaction() as work:
        await work.posts.update(changed)
        assert await work.posts.search(["owl"], limit=9) == [Hit(post=changed, in_title=False)]
    assert await _search(storage, "eagle") == [Hit(post=changed, in_title=True)]


@pytest.mark.parametrize("with_author", [False, True])
@pytest.mark.parametrize("with_reader", [False, True])
@pytest.mark.parametrize("status", [None, *PostStatus])
async def test_the_filters_are_those_of_lists(
    storage: Storage, status: PostStatus | None, with_author: bool, with_reader: bool
) -> None:
    one, two = a_user(), a_user()
    await store_users(storage, one, two)
    posts = [
        a_post(author, title=title, status=kind, published_at=None if kind is PostStatus.DRAFT else PUBLISHED)
        for _, kind, author, title in product(range(2), PostStatus, (one, two), ("second", "T"))
    ]
    await store_posts(storage, *posts)
    for author, reader in product([one.id, two.id] if with_author else [None], [one.id, two.id, new_id()]):
        reader_id = reader if with_reader else None
        listed = [
            post
            for post in newest_first(posts)
            if author in {None, post.author_id}
            and status in {None, post.status}
            and (reader_id in {None, post.author_id} or post.status is PostStatus.PUBLISHED)
        ]
        ranked = [Hit(post=post, in_title=True) for post in listed if post.title == "second"]
        expected = ranked + [Hit(post=post, in_title=False) for post in listed if post.title != "second"]
        filters = {"author_id": author, "status": status, "reader_id": reader_id}
        for limit, after in product((99, 2), [None, *[hit.place for hit in expected[::3]]]):
            start = 0 if after is None else [hit.place for hit in expected].index(after) + 1
            assert await _search(storage, "second", limit=limit, after=after, **filters) == expected[start:][:limit]
