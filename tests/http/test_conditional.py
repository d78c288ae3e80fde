"""ETag, If-Match and If-None-Match (RFC 9110 sections 8.8.3 and 13.1)."""

import pytest

from tests.http.support import NOBODY, Api, call, check_problem, findings

KINDS = pytest.mark.parametrize("kind", ["users", "posts"])

MATCHING = ['"2"', "*", ' "2" ', '"1", "2"', '"2","7"', ', "2" ,', 'W/"1", "2"', '"x", "2"']
NOT_MATCHING = ['"1"', '"3"', 'W/"2"', '"02"', '""', '"1", "3"', '"99999999999999999999"']
MALFORMED = ["", "2", '"2', "'2'", 'w/"2"', '"2" "3"', '*, "2"', "W/*", ",", '"a b"', '"2";', '"' + "x" * 1000 + '"']


async def second_version(api: Api, kind: str) -> str:
    """Store something twice and return its path."""
    user = await api.user()
    if kind == "users":
        path = f"/api/v1/users/{user['id']}"
        assert (await api.client.patch(path, json={"full_name": "B"})).headers["etag"] == '"2"'
    else:
        path = f"/api/v1/posts/{(await api.post(user))['id']}"
        assert (await api.client.patch(path, json={"title": "B"})).headers["etag"] == '"2"'
    return path


@KINDS
@pytest.mark.parametrize("tags", MATCHING)
async def test_if_match_that_matches(api: Api, kind: str, tags: str) -> None:
    path = await second_version(api, kind)
    response = await api.client.patch(path, json={}, headers={"if-match": tags})
    assert response.status_code == 200
    assert response.headers["etag"] == '"2"'
    assert (await api.client.delete(path, headers={"if-match": tags})).status_code == 204


@KINDS
@pytest.mark.parametrize("tags", NOT_MATCHING)
async def test_if_match_that_does_not(api: Api, kind: str, tags: str) -> None:
    path = await second_version(api, kind)
    change = {"full_name": "C"} if kind == "users" else {"title": "C"}
    check_problem(await api.client.patch(path, json=change, headers={"if-match": tags}), 412, "version-mismatch")
    check_problem(await api.client.delete(path, headers={"if-match": tags}), 412, "version-mismatch")
    assert (await api.client.get(path)).json()["version"] == 2


@KINDS
@pytest.mark.parametrize("tags", MALFORMED)
async def test_malformed_tags(api: Api, kind: str, tags: str) -> None:
    path = await second_version(api, kind)
    code = "too_long" if len(tags) > 1000 else "format"
    for method in ("PATCH", "DELETE"):
        response = await api.client.request(method, path, json={}, headers={"if-match": tags})
        assert findings(response) == [("If-Match", code)]
    assert findings(await api.client.get(path, headers={"if-none-match": tags})) == [("If-None-Match", code)]
    head = await api.client.head(path, headers={"if-none-match": tags})
    assert head.status_code == 422
    assert head.content == b""


@KINDS
@pytest.mark.parametrize("tags", ['"1"', '"1", "2"', "*", 'W/"1"'])
async def test_if_match_on_what_is_missing(api: Api, kind: str, tags: str) -> None:
    for method in ("PATCH", "DELETE"):
        response = await api.client.request(method, f"/api/v1/{kind}/{NOBODY}", json={}, headers={"if-match": tags})
        check_problem(response, 404, f"{kind[:-1]}-not-found")


@KINDS
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("tags", ['"2"', 'W/"2"', "*", '"1", W/"2"', '"x","2"'])
async def test_if_none_match_of_the_version(api: Api, kind: str, method: str, tags: str) -> None:
    path = await second_version(api, kind)
    response = await api.client.request(method, path, headers={"if-none-match": tags})
    assert response.status_code == 304
    assert response.content == b""
    assert response.headers["etag"] == '"2"'
    assert response.headers["cache-control"] == "private, no-cache"
    assert "content-type" not in response.headers


@KINDS
@pytest.mark.parametrize("tags", ['"1"', 'W/"3"', '"1", "3"', '""', '"02"'])
async def test_if_none_match_of_another_version(api: Api, kind: str, tags: str) -> None:
    path = await second_version(api, kind)
    response = await api.client.get(path, headers={"if-none-match": tags})
    assert response.status_code == 200
    assert response.json()["version"] == 2


async def test_lines_of_a_header_are_one_list(api: Api) -> None:
    path = await second_version(api, "users")
    lines = [(b"if-none-match", b'"1"'), (b"if-none-match", b'"2"')]
    assert (await call(api.app, "GET", path, headers=lines)).status == 304
    lines = [(b"if-match", b'"1"'), (b"if-match", b'"3"')]
    assert (await call(api.app, "DELETE", path, headers=lines)).status == 412


async def test_tags_of_other_octets(api: Api) -> None:
    path = await second_version(api, "users")
    assert (await call(api.app, "GET", path, headers=[(b"if-none-match", b'"\xff"')])).status == 200
    assert (await call(api.app, "GET", path, headers=[(b"if-none-match", b'"\x7f"')])).status == 422
