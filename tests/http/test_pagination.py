"""Tests for the links and the cursors of lists and of search results."""

import re
from string import ascii_letters, digits
from urllib.parse import quote
from uuid import UUID

import pytest

from adapters.http.pagination import CURSOR_LENGTH, CursorCodec
from adapters.http.problems.responses import ProblemError
from application.search import SearchPosition
from domain.api_keys import Scope
from tests.http.support import ADMIN_ID, Api, Json, findings, serving

ALPHABET = ascii_letters + digits + "-_"
POSTS = "/api/v1/posts"


async def walked(api: Api, path: str) -> list[list[str]]:
    """Follow the links from this path and return the ids of each page."""
    pages: list[list[str]] = []
    while True:
        response = await api.client.get(path)
        assert response.status_code == 200, response.text
        page = response.json()
        pages.append([item["id"] for item in page["items"]])
        if page["next_cursor"] is None:
            assert "link" not in response.headers
            return pages
        link = re.fullmatch(r'<(/api/v1/[^>]+)>; rel="next"', response.headers["link"])
        assert link is not None
        assert page["next_cursor"] in link[1]
        path = link[1]


async def users(api: Api, count: int) -> list[Json]:
    return [await api.user(email=f"user{n}@example.org", is_active=n % 2 == 0) for n in range(count)]


async def cursor_of(api: Api, query: str) -> str:
    """Return the cursor of the first page."""
    return str((await api.client.get(f"/api/v1/{query}")).json()["next_cursor"])


async def test_links_of_users_lead_through_all_pages(api: Api) -> None:
    ids = [user["id"] for user in reversed(await users(api, 5))]
    assert await walked(api, "/api/v1/users?limit=2") == [ids[:2], ids[2:4], ids[4:]]
    assert await walked(api, "/api/v1/users?limit=5") == [ids]
    assert await walked(api, "/api/v1/users/?limit=4") == [ids[:4], ids[4:]]
    assert await walked(api, "/api/v1/users?limit=1&is_active=true") == [ids[:1], ids[2:3], ids[4:]]


async def test_links_of_posts_keep_the_filters(api: Api) -> None:
    author = await api.user()
    ids = [(await api.post(author, status=status))["id"] for status in ("draft", "published") * 2][::-1]
    path = f"{POSTS}?limit=1&author_id={author['id']}"
    assert await walked(api, path) == [[id] for id in ids]
    assert await walked(api, f"{path}&status=draft") == [[ids[1]], [ids[3]]]


async def test_links_of_api_keys_lead_through_all_pages(api: Api) -> None:
    made = [await api.key(Scope.USERS_READ) for _ in range(2)]
    ids = [str(UUID(hex=key.split("_")[1])) for key in reversed(made)]
    assert await walked(api, "/api/v1/api-keys?limit=2") == [ids, [str(ADMIN_ID)]]


async def test_links_of_search_results_keep_the_query(api: Api) -> None:
    author = await api.user()
    titles = [(await api.post(author, title="\u00e9t\u00e9 & <b>", content="C"))["id"] for _ in range(3)][::-1]
    rest = [(await api.post(author, title="T", content="b \u00c9T\u00c9", status="published"))["id"] for _ in range(3)]
    ids = [*titles, *rest[::-1]]
    query, other = quote("b&<>;=#% \u00e9t\u00e9"), quote("b&<>=\u00e9t\u00e9#; %41")
    assert await walked(api, f"{POSTS}?limit=2&q={query}") == [ids[:2], ids[2:4], ids[4:]]
    assert await walked(api, f"{POSTS}?limit=2&q={other}") == [[]]
    assert await walked(api, f"{POSTS}?limit=2&q=b&status=published&author_id={author['id']}") == [ids[3:5], ids[5:]]


async def test_list_returns_20_items_by_default(api: Api) -> None:
    await users(api, 21)
    page = (await api.client.get("/api/v1/users")).json()
    assert len(page["items"]) == 20
    assert page["next_cursor"] is not None


def test_cursor_codec_rejects_every_changed_character() -> None:
    cursors = CursorCodec(b"secret")
    cursor = cursors.encode(UUID(int=1), resource="/users", filters={})
    assert len(cursor) == CURSOR_LENGTH
    assert cursors.decode(cursor, UUID, resource="/users", filters={}) == UUID(int=1)
    for position in range(CURSOR_LENGTH):
        for character in set(ALPHABET) - {cursor[position]}:
            with pytest.raises(ProblemError):
                cursors.decode(
                    cursor[:position] + character + cursor[position + 1 :], UUID, resource="/users", filters={}
                )


@pytest.mark.parametrize("text", ["", "x", "A" * 43, "A" * 45, "A" * 44, "+" * 44, "é" * 44])
def test_cursor_codec_rejects_malformed_text(text: str) -> None:
    with pytest.raises(ProblemError):
        CursorCodec(b"secret").decode(text, UUID, resource="/users", filters={})


def test_cursor_codec_separates_filter_values() -> None:
    cursors, given = CursorCodec(b"secret"), {"a": "1", "b": "2"}
    cursor = cursors.encode(UUID(int=1), resource="/x", filters=given)
    others = [{"a": "1b=2"}, {"a": "1"}, {"b": "2"}, {**given, "c": ""}, {"a": "12"}, {"b": "1", "c": "2"}]
    for filters in others:
        with pytest.raises(ProblemError):
            cursors.decode(cursor, UUID, resource="/x", filters=filters)


@pytest.mark.parametrize("in_title", [False, True])
def test_search_cursor_contains_rank_and_id(in_title: bool) -> None:
    cursors, position = CursorCodec(b"secret"), SearchPosition(in_title=in_title, id=UUID(int=2**128 - 1))
    cursor = cursors.encode(position, resource="/x", filters={"q": "a"})
    assert len(cursor) == CURSOR_LENGTH
    assert cursors.decode(cursor, SearchPosition, resource="/x", filters={"q": "a"}) == position
    with pytest.raises(ProblemError):
        cursors.decode(cursor, UUID, resource="/x", filters={"q": "a"})
    by_id = cursors.encode(position.id, resource="/x", filters={"q": "a"})
    with pytest.raises(ProblemError):
        cursors.decode(by_id, SearchPosition, resource="/x", filters={"q": "a"})


def test_cursor_format_matches_the_release() -> None:
    cursor = "AQAAAAAAAAAAAAAAAAAAAAGYtctekYiCs-KSAkwLzCIo"
    assert CursorCodec(b"secret").encode(UUID(int=1), resource="/users", filters={"a": "b", "c": None}) == cursor


async def test_malformed_or_respelled_cursor_returns_422(api: Api) -> None:
    await users(api, 2)
    cursor = await cursor_of(api, "users?limit=1")
    plain = cursor.replace("-", "+").replace("_", "/")
    for other in [
        cursor[:-1], cursor + "A", cursor + "=", cursor + "\n", " " + cursor, cursor[:-1] + "=", plain + "==",
    ]:  # fmt: skip
        response = await api.client.get("/api/v1/users", params={"cursor": other})
        assert findings(response) == [("cursor", "invalid_cursor")], other
    async with serving(api.storage, secret=b"other") as elsewhere:
        response = await elsewhere.client.get(f"/api/v1/users?cursor={cursor}")
        assert findings(response) == [("cursor", "invalid_cursor")]


async def test_cursor_of_another_list_returns_422(api: Api) -> None:
    await users(api, 4)
    author = await api.user()
    for _ in range(2):
        await api.post(author, title="owl engine")
    of_users, of_posts = await cursor_of(api, "users?limit=1&is_active=true"), await cursor_of(api, "posts?limit=1")
    found = await cursor_of(api, "posts?limit=1&q=owl")
    for path, cursor, filters in [
        ("users", of_users, {}),
        ("users", of_users, {"is_active": "false"}),
        ("users", of_users, {"is_active": "true", "email": "a@example.org"}),
        ("posts", of_users, {}),
        ("posts", of_posts, {"status": "draft"}),
        ("posts", of_posts, {"author_id": author["id"]}),
        ("users", of_posts, {}),
        ("api-keys", of_posts, {}),
        ("posts", found, {}),
        ("posts", found, {"q": "engine"}),
        ("posts", of_posts, {"q": "owl"}),
    ]:
        response = await api.client.get(f"/api/v1/{path}", params={"cursor": cursor, **filters})
        assert findings(response) == [("cursor", "invalid_cursor")], (path, filters)
    for path, cursor, filters in [("users", of_users, {"is_active": "true"}), ("posts", found, {"q": " owl"})]:
        response = await api.client.get(f"/api/v1/{path}", params={"cursor": cursor, **filters})
        assert response.status_code == 200
