"""Tests for `GET /posts?q=…`."""

from urllib.parse import quote
from uuid import UUID

import pytest

from adapters.http.pagination import CURSOR_LENGTH, CursorCodec
from adapters.http.problems.responses import ProblemError
from application.search import SearchPosition
from tests.http.support import Api, findings
from tests.http.test_pagination import walked

PATH = "/api/v1/posts"


async def test_search_links_keep_the_query(api: Api) -> None:
    author = await api.user()
    titles = [(await api.post(author, title="\u00e9t\u00e9 & <b>", content="C"))["id"] for _ in range(3)][::-1]
    rest = [(await api.post(author, title="T", content="b \u00c9T\u00c9", status="published"))["id"] for _ in range(3)]
    ids = [*titles, *rest[::-1]]
    query, other = quote("b&<>;=#% \u00e9t\u00e9"), quote("b&<>=\u00e9t\u00e9#; %41")
    assert await walked(api, f"{PATH}?limit=2&q={query}") == [ids[:2], ids[2:4], ids[4:]]
    assert await walked(api, f"{PATH}?limit=2&q={other}") == [[]]
    assert await walked(api, f"{PATH}?limit=2&q=b&status=published&author_id={author['id']}") == [ids[3:5], ids[5:]]


@pytest.mark.parametrize(
    ("q", "code"),
    [("", "invalid_format"), ("a\nb", "invalid_format"), ("x" * 201, "too_long")],
)
async def test_search_returns_422_for_invalid_queries(api: Api, q: str, code: str) -> None:
    assert findings(await api.client.get(PATH, params={"q": q})) == [("q", code)]


async def test_search_query_is_absent_from_the_access_log(api: Api) -> None:
    await api.client.get(PATH, params={"q": "secretword"})
    await api.client.get(PATH, params={"q": "secretword\n"})
    assert "secretword" not in str(api.log)


async def test_search_cursor_returns_422_for_another_query(api: Api) -> None:
    author = await api.user()
    for _ in range(2):
        await api.post(author, title="owl engine")
    found = (await api.client.get(f"{PATH}?limit=1&q=owl")).json()["next_cursor"]
    listed = (await api.client.get(f"{PATH}?limit=1")).json()["next_cursor"]
    for params in [{"cursor": found}, {"cursor": found, "q": "engine"}, {"cursor": listed, "q": "owl"}]:
        assert findings(await api.client.get(PATH, params=params)) == [("cursor", "invalid_cursor")]
    assert (await api.client.get(PATH, params={"cursor": found, "q": " owl"})).status_code == 200


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
