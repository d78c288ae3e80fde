"""Tests for problem responses that must not contain input. `tests/malicious_input` covers documented operations."""

from urllib.parse import quote

import pytest

from tests.http.support import ADA, NOBODY, Api, call, check_problem

CANARY = "canary<script>7f3a"
PATHS = [b"/\xff", b"/%00", b"/\xed\xa0\x80", b"/api/v1/users/\xff\xfe", b"/problems/a\0b", b"/docs/assets/\xff\0"]


@pytest.mark.parametrize("path", ["/", "/problems/", "/docs/assets/", "/api/v1/users/", "/api/v1/users?cursor="])
async def test_problems_do_not_contain_the_path(api: Api, path: str) -> None:
    response = await api.client.get(path + quote(CANARY, safe=""))
    check_problem(response, response.status_code, "validation-failed" if "users" in path else "not-found")
    assert "canary" not in f"{response.text}{response.headers!r}{api.log}"


@pytest.mark.parametrize("name", ["email", "full_name", CANARY])
async def test_problems_do_not_contain_the_body(api: Api, name: str) -> None:
    body = {**ADA, "nonsense": 1, name: CANARY}
    for method, path in [("POST", "/api/v1/users"), ("PATCH", f"/api/v1/users/{NOBODY}")]:
        response = await api.client.request(method, path, json=body, headers={"x-request-id": CANARY})
        check_problem(response, 422, "validation-failed")
        assert "canary" not in f"{response.text}{response.headers!r}{api.log}"


@pytest.mark.parametrize("path", [*PATHS, b"/problems/{0.__class__}", b"/docs/assets/" + b"a" * 5000])
async def test_path_with_unusual_bytes_returns_a_problem(api: Api, path: bytes) -> None:
    response = await call(api.app, "GET", path.decode("utf-8", "surrogateescape"))
    assert response.status in {404, 422}
    assert response.headers["content-type"] == "application/problem+json"
