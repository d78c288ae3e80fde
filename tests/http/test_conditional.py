"""Tests for ETag, If-Match and If-None-Match (RFC 9110 sections 8.8.3 and 13.1)."""

import pytest

from tests.http.support import NOBODY, Api, call, check_problem, findings

KINDS = pytest.mark.parametrize("kind", ["users", "posts"])

MATCHING = ['"2"', "*", ' "2" ', '"1", "2"', '"2","7"', ', "2" ,', 'W/"1", "2"', '"x", "2"']
NOT_MATCHING = ['"1"', '"3"', 'W/"2"', '"02"', '""', '"1", "3"', '"99999999999999999999"']
MALFORMED = ["", "2", '"2', "'2'", 'w/"2"', '"2" "3"', '*, "2"', "W/*", ",", '"a b"', '"2";', '"' + "x" * 1000 + '"']


async def second_version(api: Api, kind: str) -> str:
    """Create an entity, update it, and return its path."""
    user = await api.user()
    entity, field = (user, "full_name") if kind == "users" else (await api.post(user), "title")
    path = f"/api/v1/{kind}/{entity['id']}"
    assert (await api.client.patch(path, json={field: "B"})).headers["etag"] == '"2"'
    return path


@KINDS
@pytest.mark.parametrize("tags", [*MATCHING, *NOT_MATCHING])
async def test_if_match_allows_only_writes_of_that_version(api: Api, kind: str, tags: str) -> None:
    path = await second_version(api, kind)
    for method, status in (("PATCH", 200), ("DELETE", 204)):
        response = await api.client.request(method, path, json={}, headers={"if-match": tags})
        if tags in MATCHING:
            assert response.status_code == status
        else:
            check_problem(response, 412, "version-mismatch")
            assert (await api.client.get(path)).json()["version"] == 2


@KINDS
@pytest.mark.parametrize("tags", ['"2"', 'W/"2"', "*", '"1", W/"2"', '"1"', 'W/"3"', '"02"'])
async def test_if_none_match_prevents_writes_of_that_version(api: Api, kind: str, tags: str) -> None:
    path = await second_version(api, kind)
    for method, status in (("PATCH", 200), ("DELETE", 204)):
        response = await api.client.request(method, path, json={}, headers={"if-none-match": tags})
        if "2" in tags.replace("02", "") or tags == "*":
            check_problem(response, 412, "version-mismatch")
            assert (await api.client.get(path)).json()["version"] == 2
        else:
            assert response.status_code == status


@KINDS
async def test_if_match_applies_before_if_none_match(api: Api, kind: str) -> None:
    path = await second_version(api, kind)
    for method in ("GET", "PATCH", "DELETE"):
        headers = {"if-match": '"1"', "if-none-match": '"2"'}
        check_problem(await api.client.request(method, path, json={}, headers=headers), 412, "version-mismatch")
    both = {"if-match": '"2"', "if-none-match": '"1"'}
    assert (await api.client.get(path, headers={"if-match": '"2"', "if-none-match": '"2"'})).status_code == 304
    assert (await api.client.get(path, headers=both)).status_code == 200
    assert (await api.client.delete(path, headers=both)).status_code == 204


@KINDS
@pytest.mark.parametrize("tags", MALFORMED)
async def test_malformed_entity_tags_return_422(api: Api, kind: str, tags: str) -> None:
    path = await second_version(api, kind)
    code = "too_long" if len(tags) > 1000 else "invalid_format"
    for method in ("GET", "PATCH", "DELETE"):
        for name in ("If-Match", "If-None-Match"):
            response = await api.client.request(method, path, json={}, headers={name: tags})
            assert findings(response) == [(name, code)]
    head = await api.client.head(path, headers={"if-none-match": tags})
    assert (head.status_code, head.content) == (422, b"")


@KINDS
@pytest.mark.parametrize("tags", ['"1"', '"1", "2"', "*", 'W/"1"'])
async def test_if_match_returns_404_for_a_missing_resource(api: Api, kind: str, tags: str) -> None:
    for method in ("PATCH", "DELETE"):
        response = await api.client.request(method, f"/api/v1/{kind}/{NOBODY}", json={}, headers={"if-match": tags})
        check_problem(response, 404, f"{kind[:-1]}-not-found")


@KINDS
@pytest.mark.parametrize(
    ("tags", "status"),
    [
        *[(tags, 304) for tags in ('"2"', 'W/"2"', "*", '"1", W/"2"', '"x","2"')],
        *[(tags, 200) for tags in ('"1"', 'W/"3"', '"1", "3"', '""', '"02"')],
    ],
)
async def test_if_none_match_returns_304_for_the_version(api: Api, kind: str, tags: str, status: int) -> None:
    path = await second_version(api, kind)
    for method in ("GET", "HEAD"):
        response = await api.client.request(method, path, headers={"if-none-match": tags})
        assert (response.status_code, bool(response.content)) == (status, (method, status) == ("GET", 200))
        assert response.headers["etag"] == '"2"'
        assert response.headers["cache-control"] == "private, no-cache"
        assert ("content-type" in response.headers) is (status == 200)


async def test_entity_tags_in_several_lines_are_combined(api: Api) -> None:
    path = await second_version(api, "users")
    lines = [(b"if-none-match", b'"1"'), (b"if-none-match", b'"2"')]
    assert (await call(api.app, "GET", path, headers=lines)).status_code == 304
    lines = [(b"if-match", b'"1"'), (b"if-match", b'"3"')]
    assert (await call(api.app, "DELETE", path, headers=lines)).status_code == 412


@pytest.mark.parametrize(("tag", "status"), [(b'"\xff"', 200), (b'"\x7f"', 422)])
async def test_entity_tags_may_contain_obs_text(api: Api, tag: bytes, status: int) -> None:
    path = await second_version(api, "users")
    assert (await call(api.app, "GET", path, headers=[(b"if-none-match", tag)])).status_code == status
