"""Tests for the endpoints of users."""

import pytest

from tests.http.support import ADA, NOBODY, Api, check_problem, findings

PATH = "/api/v1/users"


async def test_post_user_returns_201_with_the_stored_user(api: Api) -> None:
    response = await api.client.post(PATH, json={**ADA, "full_name": "  Ada Lovelace  "})
    assert response.status_code == 201
    user = response.json()
    assert (
        user
        | {
            "email": "ada@example.org",
            "full_name": "Ada Lovelace",
            "is_active": True,
            "created_at": "2030-01-01T00:00:00Z",
            "updated_at": "2030-01-01T00:00:00Z",
            "version": 1,
        }
        == user
    )
    assert response.headers["location"] == f"{PATH}/{user['id']}"
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert (await api.client.get(response.headers["location"])).json() == user


@pytest.mark.parametrize("optional", [{"full_name": None, "is_active": False}, {"full_name": None}, {}])
async def test_post_user_fills_in_defaults(api: Api, optional: dict[str, object]) -> None:
    user = (await api.client.post(PATH, json={"email": "ada@example.org", **optional})).json()
    assert (user["full_name"], user["is_active"]) == (None, optional.get("is_active", True))


async def test_registered_email_returns_409(api: Api) -> None:
    await api.user()
    other = await api.user(email="grace@example.org")
    email = {"email": "ADA@Example.org"}
    for response in [
        await api.client.post(PATH, json=email),
        await api.client.patch(f"{PATH}/{other['id']}", json=email),
    ]:
        check_problem(response, 409, "email-already-registered")


@pytest.mark.parametrize("case", [str.lower, str.upper])
async def test_get_user_ignores_the_case_of_the_id(api: Api, case: type[str]) -> None:
    user = await api.user()
    response = await api.client.get(f"{PATH}/{case(user['id'])}")
    assert (response.status_code, response.json()) == (200, user)
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize("method", ["GET", "DELETE", "PATCH"])
async def test_missing_user_returns_404(api: Api, method: str) -> None:
    check_problem(await api.client.request(method, f"{PATH}/{NOBODY}", json={}), 404, "user-not-found")


@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
async def test_patch_user_returns_the_next_version(api: Api, media_type: str) -> None:
    user = await api.user()
    response = await api.client.patch(
        f"{PATH}/{user['id']}",
        content=b'{"full_name": "Ada King", "is_active": false}',
        headers={"content-type": media_type},
    )
    assert response.status_code == 200
    expected = {"full_name": "Ada King", "is_active": False, "version": 2, "updated_at": "2030-01-01T00:00:01Z"}
    assert response.json() == {**user, **expected}
    assert response.headers["etag"] == '"2"'
    assert response.headers["cache-control"] == "no-store"


async def test_patch_user_distinguishes_null_from_absent(api: Api) -> None:
    user = await api.user()
    path = f"{PATH}/{user['id']}"
    unchanged = await api.client.patch(path, json={})
    assert (unchanged.status_code, unchanged.json(), unchanged.headers["etag"]) == (200, user, '"1"')
    cleared = (await api.client.patch(path, json={"full_name": None})).json()
    assert (cleared["full_name"], cleared["version"]) == (None, 2)
    for field in ("email", "is_active"):
        assert findings(await api.client.patch(path, json={field: None})) == [(f"/{field}", "invalid_type")]


async def test_delete_user_returns_204(api: Api) -> None:
    user = await api.user()
    response = await api.client.delete(f"{PATH}/{user['id']}")
    assert (response.status_code, response.content) == (204, b"")
    assert response.headers["cache-control"] == "no-store"
    assert (await api.client.get(f"{PATH}/{user['id']}")).status_code == 404


async def test_list_users_applies_query_parameters(api: Api) -> None:
    ada, grace = await api.user(), await api.user(email="grace@example.org", is_active=False)
    for query, expected in {
        "": [grace, ada],
        "?is_active=true": [ada],
        "?is_active=false": [grace],
        "?email=ADA%40example.org": [ada],
        "?email=ADA%40example.org&is_active=false": [],
        "?limit=1": [grace],
    }.items():
        response = await api.client.get(PATH + query)
        assert response.status_code == 200
        assert response.json()["items"] == expected, query
        assert response.headers["cache-control"] == "private, no-cache"
