"""Tests for the endpoints of users and posts."""

import pytest

from tests.http.support import ADA, NOBODY, Api, Json, check_problem

USERS, POSTS = "/api/v1/users", "/api/v1/posts"
NEW = {"created_at": "2030-01-01T00:00:00Z", "updated_at": "2030-01-01T00:00:00Z", "version": 1}
TEXT = {"title": "More", "content": "Much more.", "status": "published"}
LATER = "2030-01-01T00:00:01Z"
both = pytest.mark.parametrize("path", [USERS, POSTS])


async def stored(api: Api, path: str) -> Json:
    """Create a resource of this collection."""
    user = await api.user()
    return user if path == USERS else await api.post(user)


@pytest.mark.parametrize(
    ("path", "given", "changed"),
    [
        (USERS, {**ADA, "full_name": "  Ada Lovelace  "}, {"full_name": "Ada Lovelace", "is_active": True}),
        (USERS, {**ADA, "full_name": None, "is_active": False}, {}),
        (USERS, {"email": "ada@example.org"}, {"full_name": None, "is_active": True}),
        (
            POSTS,
            {"title": " Notes ", "content": "a\r\nb", "status": "published"},
            {"title": "Notes", "content": "a\nb", "published_at": NEW["created_at"]},
        ),
        (POSTS, {"title": "T", "content": "C"}, {"status": "draft", "published_at": None}),
    ],
)
async def test_post_returns_201_with_the_stored_resource(api: Api, path: str, given: Json, changed: Json) -> None:
    if path == POSTS:
        given = {**given, "author_id": (await api.user(email="author@example.org"))["id"]}
    response = await api.client.post(path, json=given)
    assert response.status_code == 201
    created = response.json()
    assert {**given, **changed, **NEW}.items() <= created.items()
    assert response.headers["location"] == f"{path}/{created['id']}"
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert (await api.client.get(response.headers["location"])).json() == created


async def test_registered_email_returns_409(api: Api) -> None:
    await api.user()
    other = await api.user(email="grace@example.org")
    for method, path in [("POST", USERS), ("PATCH", f"{USERS}/{other['id']}")]:
        response = await api.client.request(method, path, json={"email": "ADA@Example.org"})
        check_problem(response, 409, "email-already-registered")


async def test_missing_author_returns_422(api: Api) -> None:
    given = {"author_id": NOBODY, "title": "t", "content": "c"}
    problem = check_problem(await api.client.post(POSTS, json=given), 422, "author-not-found")
    assert [(error["pointer"], error["code"]) for error in problem["errors"]] == [("/author_id", "not_found")]


async def test_inactive_author_and_forbidden_status_return_409(api: Api) -> None:
    user = await api.user()
    path = f"{POSTS}/{(await api.post(user))['id']}"
    check_problem(await api.client.patch(path, json={"status": "archived"}), 409, "invalid-transition")
    await api.client.patch(f"{USERS}/{user['id']}", json={"is_active": False})
    given = {"author_id": user["id"], "title": "t", "content": "c"}
    check_problem(await api.client.post(POSTS, json=given), 409, "author-inactive")
    check_problem(await api.client.patch(path, json={"status": "published"}), 409, "author-inactive")


@both
@pytest.mark.parametrize("case", [str.lower, str.upper])
async def test_get_ignores_the_case_of_the_id(api: Api, path: str, case: type[str]) -> None:
    resource = await stored(api, path)
    response = await api.client.get(f"{path}/{case(resource['id'])}")
    assert (response.status_code, response.json()) == (200, resource)
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "private, no-cache"


@both
@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_missing_resource_returns_404(api: Api, path: str, method: str) -> None:
    code = "user-not-found" if path == USERS else "post-not-found"
    check_problem(await api.client.request(method, f"{path}/{NOBODY}", json={}), 404, code)


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
@pytest.mark.parametrize(
    ("path", "given", "changed"),
    [
        (USERS, {"full_name": "Ada King", "is_active": False}, {}),
        (USERS, {"full_name": None}, {}),
        (POSTS, TEXT, {"published_at": LATER}),
    ],
)
async def test_patch_returns_the_next_version(api: Api, path: str, given: Json, changed: Json, media_type: str) -> None:
    resource = await stored(api, path)
    headers = {"content-type": media_type}
    expected = {**resource, **given, **changed, "version": 2, "updated_at": LATER}
    for body in (given, {}):
        response = await api.client.patch(f"{path}/{resource['id']}", json=body, headers=headers)
        assert (response.status_code, response.json()) == (200, expected)
        assert response.headers["etag"] == '"2"'
        assert response.headers["cache-control"] == "no-store"


@both
async def test_delete_returns_204(api: Api, path: str) -> None:
    path = f"{path}/{(await stored(api, path))['id']}"
    response = await api.client.delete(path)
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["cache-control"] == "no-store"
    assert (await api.client.get(path)).status_code == 404


async def test_list_applies_query_parameters(api: Api) -> None:
    ada, grace = await api.user(), await api.user(email="grace@example.org", is_active=False)
    first, second = await api.post(ada), await api.post(ada, status="published")
    for query, expected in {
        "users": [grace, ada],
        "users?is_active=true": [ada],
        "users?is_active=false": [grace],
        "users?email=ADA%40example.org": [ada],
        "users?email=ADA%40example.org&is_active=false": [],
        "users?limit=1": [grace],
        "posts": [second, first],
        f"posts?author_id={ada['id']}": [second, first],
        f"posts?author_id={grace['id']}": [],
        "posts?status=draft": [first],
        f"posts?status=draft&author_id={ada['id']}": [first],
        "posts?status=archived": [],
        "posts?limit=1": [second],
    }.items():
        response = await api.client.get(f"/api/v1/{query}")
        assert (response.status_code, response.json()["items"]) == (200, expected), query
        assert response.headers["cache-control"] == "private, no-cache"
