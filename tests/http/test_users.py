import pytest

from tests.http.support import ADA, NOBODY, Api, check_problem, findings

SLASHES = pytest.mark.parametrize("slash", ["", "/"])


@SLASHES
async def test_register(api: Api, slash: str) -> None:
    response = await api.client.post(f"/api/v1/users{slash}", json=ADA)
    assert response.status_code == 201
    user = response.json()
    assert user == {
        "id": user["id"],
        "email": "ada@example.org",
        "full_name": "Ada Lovelace",
        "is_active": True,
        "created_at": "2030-01-01T00:00:00Z",
        "updated_at": "2030-01-01T00:00:00Z",
        "version": 1,
    }
    assert response.headers["location"] == f"/api/v1/users/{user['id']}"
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    assert (await api.client.get(response.headers["location"])).json() == user


async def test_register_with_defaults(api: Api) -> None:
    user = await api.user(full_name=None)
    assert user["full_name"] is None
    assert user["is_active"] is True


async def test_register_inactive(api: Api) -> None:
    assert (await api.user(is_active=False))["is_active"] is False


async def test_fields_are_cleaned_by_the_domain(api: Api) -> None:
    assert (await api.user(full_name="  Ada  "))["full_name"] == "Ada"


async def test_registered_address_is_refused_in_another_spelling(api: Api) -> None:
    await api.user()
    response = await api.client.post("/api/v1/users", json={"email": "ADA@Example.org"})
    check_problem(response, 409, "email-already-registered")


@SLASHES
async def test_read(api: Api, slash: str) -> None:
    user = await api.user()
    response = await api.client.get(f"/api/v1/users/{user['id']}{slash}")
    assert response.status_code == 200
    assert response.json() == user
    assert response.headers["etag"] == '"1"'
    assert response.headers["cache-control"] == "private, no-cache"


async def test_id_in_capitals_is_the_same_id(api: Api) -> None:
    user = await api.user()
    assert (await api.client.get(f"/api/v1/users/{user['id'].upper()}")).json() == user


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@SLASHES
async def test_missing_user(api: Api, method: str, slash: str) -> None:
    check_problem(await api.client.request(method, f"/api/v1/users/{NOBODY}{slash}"), 404, "user-not-found")


async def test_change_of_a_missing_user(api: Api) -> None:
    check_problem(await api.client.patch(f"/api/v1/users/{NOBODY}", json={}), 404, "user-not-found")


@SLASHES
@pytest.mark.parametrize("media_type", ["application/merge-patch+json", "application/json"])
async def test_change(api: Api, slash: str, media_type: str) -> None:
    user = await api.user()
    response = await api.client.patch(
        f"/api/v1/users/{user['id']}{slash}",
        content=b'{"full_name": "Ada King", "is_active": false}',
        headers={"content-type": media_type},
    )
    assert response.status_code == 200
    expected = {"full_name": "Ada King", "is_active": False, "version": 2, "updated_at": "2030-01-01T00:00:01Z"}
    assert response.json() == {**user, **expected}
    assert response.headers["etag"] == '"2"'
    assert response.headers["cache-control"] == "no-store"


async def test_null_clears_the_name_and_absence_leaves_it(api: Api) -> None:
    user = await api.user()
    path = f"/api/v1/users/{user['id']}"
    assert (await api.client.patch(path, json={"is_active": True})).json()["full_name"] == "Ada Lovelace"
    cleared = (await api.client.patch(path, json={"full_name": None})).json()
    assert cleared["full_name"] is None
    assert cleared["version"] == 2


@pytest.mark.parametrize("field", ["email", "is_active"])
async def test_null_elsewhere_is_refused(api: Api, field: str) -> None:
    user = await api.user()
    response = await api.client.patch(f"/api/v1/users/{user['id']}", json={field: None})
    assert findings(response) == [(f"/{field}", "type")]


async def test_empty_patch_changes_nothing(api: Api) -> None:
    user = await api.user()
    response = await api.client.patch(f"/api/v1/users/{user['id']}", json={})
    assert response.status_code == 200
    assert response.json() == user
    assert response.headers["etag"] == '"1"'


async def test_change_to_a_taken_address(api: Api) -> None:
    await api.user()
    other = await api.user(email="grace@example.org")
    response = await api.client.patch(f"/api/v1/users/{other['id']}", json={"email": "ada@example.org"})
    check_problem(response, 409, "email-already-registered")


@SLASHES
async def test_erase(api: Api, slash: str) -> None:
    user = await api.user()
    post = await api.post(user)
    response = await api.client.delete(f"/api/v1/users/{user['id']}{slash}")
    assert response.status_code == 204
    assert response.content == b""
    assert response.headers["cache-control"] == "no-store"
    assert (await api.client.get(f"/api/v1/users/{user['id']}")).status_code == 404
    assert (await api.client.get(f"/api/v1/posts/{post['id']}")).status_code == 404


@SLASHES
async def test_list_is_newest_first_with_filters(api: Api, slash: str) -> None:
    ada, grace = await api.user(), await api.user(email="grace@example.org", is_active=False)
    path = f"/api/v1/users{slash}"
    for query, expected in {
        "": [grace, ada],
        "?is_active=true": [ada],
        "?is_active=false": [grace],
        "?email=ADA%40example.org": [ada],
        "?email=ADA%40example.org&is_active=false": [],
        "?email=nobody%40example.org": [],
        "?limit=1": [grace],
    }.items():
        response = await api.client.get(path + query)
        assert response.status_code == 200
        assert response.json()["items"] == expected, query
        assert response.headers["cache-control"] == "private, no-cache"
