"""Tests for cursors and links of lists."""

import re
from string import ascii_letters, digits
from uuid import UUID

import pytest

from adapters.http.pagination import CURSOR_LENGTH, CursorCodec
from adapters.http.problems.responses import ProblemError
from domain.api_keys import Scope
from tests.http.support import ADMIN_ID, Api, Json, findings, serving

ALPHABET = ascii_letters + digits + "-_"


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


async def test_links_of_users_lead_through_all_pages(api: Api) -> None:
    ids = [user["id"] for user in reversed(await users(api, 5))]
    assert await walked(api, "/api/v1/users?limit=2") == [ids[:2], ids[2:4], ids[4:]]
    assert await walked(api, "/api/v1/users?limit=5") == [ids]
    assert await walked(api, "/api/v1/users/?limit=4") == [ids[:4], ids[4:]]
    assert await walked(api, "/api/v1/users?limit=1&is_active=true") == [ids[:1], ids[2:3], ids[4:]]


async def test_links_of_posts_keep_the_filters(api: Api) -> None:
    author = await api.user()
    ids = [(await api.post(author, status=status))["id"] for status in ("draft", "published") * 2][::-1]
    path = f"/api/v1/posts?limit=1&author_id={author['id']}"
    assert await walked(api, path) == [[id] for id in ids]
    assert await walked(api, f"{path}&status=draft") == [[ids[1]], [ids[3]]]


async def test_links_of_api_keys_lead_through_all_pages(api: Api) -> None:
    made = [await api.key(Scope.USERS_READ) for _ in range(2)]
    ids = [str(UUID(hex=key.split("_")[1])) for key in reversed(made)]
    assert await walked(api, "/api/v1/api-keys?limit=2") == [ids, [str(ADMIN_ID)]]


async def test_list_returns_20_items_by_default(api: Api) -> None:
    await users(api, 21)
    page = (await api.client.get("/api/v1/users")).json()
    assert len(page["items"]) == 20
    assert page["next_cursor"] is not None


async def test_cursor_stays_valid_after_changes(api: Api) -> None:
    made = await users(api, 5)
    cursor = (await api.client.get("/api/v1/users?limit=1")).json()["next_cursor"]
    await api.client.delete(f"/api/v1/users/{made[4]['id']}")
    page = (await api.client.get("/api/v1/users", params={"cursor": cursor, "limit": 3})).json()
    assert page["items"] == made[3:0:-1]


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
    cursors = CursorCodec(b"secret")
    cursor = cursors.encode(UUID(int=1), resource="/x", filters={"a": "1", "b": "2"})
    for filters in [
        {"a": "1b=2"},
        {"a": "1"},
        {"b": "2"},
        {"a": "1", "b": "2", "c": ""},
        {"a": "12"},
        {"b": "1", "c": "2"},
    ]:
        with pytest.raises(ProblemError):
            cursors.decode(cursor, UUID, resource="/x", filters=filters)


async def test_respelled_cursor_returns_422(api: Api) -> None:
    await users(api, 2)
    cursor = (await api.client.get("/api/v1/users?limit=1")).json()["next_cursor"]
    plain = cursor.replace("-", "+").replace("_", "/")
    swapped = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for other in [
        swapped, cursor[:-1], cursor + "A", cursor + "=", cursor + "\n", " " + cursor, cursor[:-1] + "=", plain + "==",
    ]:  # fmt: skip
        response = await api.client.get("/api/v1/users", params={"cursor": other})
        assert findings(response) == [("cursor", "invalid_cursor")], other


async def test_cursor_of_another_list_returns_422(api: Api) -> None:
    await users(api, 4)
    author = await api.user()
    await api.post(author)
    await api.post(author)
    user_cursor = (await api.client.get("/api/v1/users?limit=1&is_active=true")).json()["next_cursor"]
    post_cursor = (await api.client.get("/api/v1/posts?limit=1")).json()["next_cursor"]
    for path, params in [
        ("users", {"cursor": user_cursor}),
        ("users", {"cursor": user_cursor, "is_active": "false"}),
        ("users", {"cursor": user_cursor, "is_active": "true", "email": "a@example.org"}),
        ("posts", {"cursor": user_cursor}),
        ("posts", {"cursor": post_cursor, "status": "draft"}),
        ("posts", {"cursor": post_cursor, "author_id": author["id"]}),
        ("users", {"cursor": post_cursor}),
        ("api-keys", {"cursor": post_cursor}),
    ]:
        response = await api.client.get(f"/api/v1/{path}", params=params)
        assert findings(response) == [("cursor", "invalid_cursor")], params
    response = await api.client.get("/api/v1/users", params={"cursor": user_cursor, "is_active": "true"})
    assert response.status_code == 200


async def test_cursor_of_another_secret_returns_422(api: Api) -> None:
    await users(api, 2)
    cursor = (await api.client.get("/api/v1/users?limit=1")).json()["next_cursor"]
    async with serving(api.storage, secret=b"other") as other:
        assert findings(await other.client.get(f"/api/v1/users?cursor={cursor}")) == [("cursor", "invalid_cursor")]
