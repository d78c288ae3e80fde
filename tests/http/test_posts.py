"""Tests for the endpoints of posts."""

import pytest

from tests.http.support import NOBODY, Api, check_problem, findings

PATH = "/api/v1/posts"


async def test_post_post_returns_201_with_the_stored_post(api: Api) -> None:
    user = await api.user()
    given = {"author_id": user["id"], "title": " Notes ", "content": "a\r\nb", "status": "published"}
    response = await api.client.post(PATH, json=given)
    assert response.status_code == 201
    post = response.json()
    assert (
        post
        | {
            "author_id": user["id"],
            "title": "Notes",
            "content": "a\nb",
            "status": "published",
            "published_at": "2030-01-01T00:00:00Z",
            "created_at": "2030-01-01T00:00:00Z",
            "updated_at": "2030-01-01T00:00:00Z",
            "version": 1,
        }
        == post
    )
    assert response.headers["location"] == f"{PATH}/{post['id']}"
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "no-store"


async def test_post_post_creates_a_draft_by_default(api: Api) -> None:
    post = await api.post(await api.user())
    assert (post["status"], post["published_at"]) == ("draft", None)


async def test_post_post_returns_422_for_missing_author(api: Api) -> None:
    given = {"author_id": NOBODY, "title": "t", "content": "c"}
    problem = check_problem(await api.client.post(PATH, json=given), 422, "author-not-found")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/author_id", "not_found")]


async def test_inactive_author_returns_409(api: Api) -> None:
    user = await api.user()
    post = await api.post(user)
    await api.client.patch(f"/api/v1/users/{user['id']}", json={"is_active": False})
    given = {"author_id": user["id"], "title": "t", "content": "c"}
    check_problem(await api.client.post(PATH, json=given), 409, "author-inactive")
    response = await api.client.patch(f"{PATH}/{post['id']}", json={"status": "published"})
    check_problem(response, 409, "author-inactive")


async def test_post_post_returns_422_for_archived_status(api: Api) -> None:
    given = {"author_id": (await api.user())["id"], "title": "t", "content": "c", "status": "archived"}
    assert findings(await api.client.post(PATH, json=given)) == [("/status", "invalid_choice")]


async def test_get_post_returns_the_post_with_its_etag(api: Api) -> None:
    post = await api.post(await api.user())
    response = await api.client.get(f"{PATH}/{post['id']}")
    assert (response.status_code, response.json()) == (200, post)
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_missing_post_returns_404(api: Api, method: str) -> None:
    check_problem(await api.client.request(method, f"{PATH}/{NOBODY}", json={}), 404, "post-not-found")


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
async def test_patch_post_returns_the_next_version(api: Api, media_type: str) -> None:
    post = await api.post(await api.user())
    path = f"{PATH}/{post['id']}"
    response = await api.client.patch(
        path,
        content=b'{"title": "More", "content": "Much more.", "status": "published"}',
        headers={"content-type": media_type},
    )
    assert response.status_code == 200
    now = "2030-01-01T00:00:01Z"
    text = {"title": "More", "content": "Much more.", "status": "published"}
    assert response.json() == {**post, **text, "published_at": now, "updated_at": now, "version": 2}
    assert response.headers["etag"] == '"2"'
    assert (await api.client.patch(path, json={})).json() == response.json()


async def test_patch_post_returns_409_for_a_forbidden_status(api: Api) -> None:
    path = f"{PATH}/{(await api.post(await api.user()))['id']}"
    check_problem(await api.client.patch(path, json={"status": "archived"}), 409, "invalid-transition")


@pytest.mark.parametrize("field", ["title", "content", "status"])
async def test_patch_post_returns_422_for_null(api: Api, field: str) -> None:
    post = await api.post(await api.user())
    assert findings(await api.client.patch(f"{PATH}/{post['id']}", json={field: None})) == [
        (f"/{field}", "invalid_type")
    ]


async def test_delete_post_returns_204(api: Api) -> None:
    post = await api.post(await api.user())
    response = await api.client.delete(f"{PATH}/{post['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert (await api.client.get(f"{PATH}/{post['id']}")).status_code == 404


async def test_list_posts_applies_query_parameters(api: Api) -> None:
    ada, grace = await api.user(), await api.user(email="grace@example.org")
    first, second, third = await api.post(ada), await api.post(grace), await api.post(ada, status="published")
    for query, expected in {
        "": [third, second, first],
        f"?author_id={ada['id']}": [third, first],
        "?status=draft": [second, first],
        f"?status=draft&author_id={ada['id']}": [first],
        "?status=archived": [],
        "?limit=2": [third, second],
    }.items():
        response = await api.client.get(PATH + query)
        assert response.status_code == 200
        assert response.json()["items"] == expected, query
