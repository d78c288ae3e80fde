import pytest

from tests.http.support import NOBODY, Api, check_problem, findings

SLASHES = pytest.mark.parametrize("slash", ["", "/"])


@SLASHES
async def test_write(api: Api, slash: str) -> None:
    user = await api.user()
    given = {"author_id": user["id"], "title": " Notes ", "content": "a\r\nb", "status": "published"}
    response = await api.client.post(f"/api/v1/posts{slash}", json=given)
    assert response.status_code == 201
    post = response.json()
    assert post == {
        "id": post["id"],
        "author_id": user["id"],
        "title": "Notes",
        "content": "a\nb",
        "status": "published",
        "published_at": "2030-01-01T00:00:00Z",
        "created_at": "2030-01-01T00:00:00Z",
        "updated_at": "2030-01-01T00:00:00Z",
        "version": 1,
    }
    assert response.headers["location"] == f"/api/v1/posts/{post['id']}"
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "no-store"
    assert (await api.client.get(response.headers["location"])).json() == post


async def test_post_is_a_draft_unless_it_says_otherwise(api: Api) -> None:
    post = await api.post(await api.user())
    assert post["status"] == "draft"
    assert post["published_at"] is None


async def test_author_who_is_not_there(api: Api) -> None:
    given = {"author_id": NOBODY, "title": "t", "content": "c"}
    problem = check_problem(await api.client.post("/api/v1/posts", json=given), 422, "author-not-found")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/author_id", "not_found")]


async def test_inactive_author_neither_writes_nor_publishes(api: Api) -> None:
    user = await api.user()
    post = await api.post(user)
    await api.client.patch(f"/api/v1/users/{user['id']}", json={"is_active": False})
    given = {"author_id": user["id"], "title": "t", "content": "c"}
    check_problem(await api.client.post("/api/v1/posts", json=given), 409, "author-inactive")
    response = await api.client.patch(f"/api/v1/posts/{post['id']}", json={"status": "published"})
    check_problem(response, 409, "author-inactive")


async def test_post_does_not_start_archived(api: Api) -> None:
    user = await api.user()
    given = {"author_id": user["id"], "title": "t", "content": "c", "status": "archived"}
    assert findings(await api.client.post("/api/v1/posts", json=given)) == [("/status", "choice")]


@SLASHES
async def test_read(api: Api, slash: str) -> None:
    post = await api.post(await api.user())
    response = await api.client.get(f"/api/v1/posts/{post['id']}{slash}")
    assert response.status_code == 200
    assert response.json() == post
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@SLASHES
async def test_missing_post(api: Api, method: str, slash: str) -> None:
    check_problem(await api.client.request(method, f"/api/v1/posts/{NOBODY}{slash}"), 404, "post-not-found")


async def test_change_of_a_missing_post(api: Api) -> None:
    check_problem(await api.client.patch(f"/api/v1/posts/{NOBODY}", json={}), 404, "post-not-found")


@SLASHES
@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
async def test_change(api: Api, slash: str, media_type: str) -> None:
    post = await api.post(await api.user())
    response = await api.client.patch(
        f"/api/v1/posts/{post['id']}{slash}",
        content=b'{"title": "More", "content": "Much more.", "status": "published"}',
        headers={"content-type": media_type},
    )
    assert response.status_code == 200
    now = "2030-01-01T00:00:01Z"
    text = {"title": "More", "content": "Much more.", "status": "published"}
    assert response.json() == {**post, **text, "published_at": now, "updated_at": now, "version": 2}
    assert response.headers["etag"] == '"2"'


async def test_transitions(api: Api) -> None:
    path = f"/api/v1/posts/{(await api.post(await api.user()))['id']}"
    check_problem(await api.client.patch(path, json={"status": "archived"}), 409, "invalid-transition")
    for version, status in enumerate(["published", "archived", "published"], start=2):
        changed = (await api.client.patch(path, json={"status": status})).json()
        assert (changed["status"], changed["version"]) == (status, version)
    check_problem(await api.client.patch(path, json={"status": "draft"}), 409, "invalid-transition")


@pytest.mark.parametrize("field", ["title", "content", "status"])
async def test_null_is_refused(api: Api, field: str) -> None:
    post = await api.post(await api.user())
    response = await api.client.patch(f"/api/v1/posts/{post['id']}", json={field: None})
    assert findings(response) == [(f"/{field}", "type")]


async def test_empty_patch_changes_nothing(api: Api) -> None:
    post = await api.post(await api.user())
    response = await api.client.patch(f"/api/v1/posts/{post['id']}", json={})
    assert response.status_code == 200
    assert response.json() == post


@SLASHES
async def test_remove(api: Api, slash: str) -> None:
    post = await api.post(await api.user())
    response = await api.client.delete(f"/api/v1/posts/{post['id']}{slash}")
    assert response.status_code == 204
    assert response.content == b""
    assert (await api.client.get(f"/api/v1/posts/{post['id']}")).status_code == 404


@SLASHES
async def test_list_is_newest_first_with_filters(api: Api, slash: str) -> None:
    ada, grace = await api.user(), await api.user(email="grace@example.org")
    first, second, third = await api.post(ada), await api.post(grace), await api.post(ada, status="published")
    path = f"/api/v1/posts{slash}"
    for query, expected in {
        "": [third, second, first],
        f"?author_id={ada['id']}": [third, first],
        "?status=draft": [second, first],
        f"?status=draft&author_id={ada['id']}": [first],
        "?status=archived": [],
        f"?author_id={NOBODY}": [],
        "?limit=2": [third, second],
    }.items():
        response = await api.client.get(path + query)
        assert response.status_code == 200
        assert response.json()["items"] == expected, query
