"""Tests for the validation of bodies and query parameters."""

from typing import Any
from urllib.parse import quote

import pytest

from adapters.http.problems.responses import ERROR_CODES, MAX_ERRORS
from tests.http.support import ADA, NOBODY, Api, Json, call, check_problem, findings

LONG = "x" * 201
Invalid = dict[str, dict[str, list[Any]]]
"""Invalid values by field and code."""
USER: Invalid = {
    "email": {
        "invalid_type": [1, None],
        "invalid_format": ["no address", " ada@example.org"],
        "too_long": ["a" * 250 + "@x.org"],
    },
    "full_name": {"invalid_type": [1], "invalid_format": ["", "a\0b"], "too_long": [LONG]},
    "is_active": {"invalid_type": [1, "true", None]},
    "admin": {"unknown": [True]},
    "id": {"unknown": [NOBODY]},
}
POST: Invalid = {
    "title": {"invalid_type": [None, 7], "invalid_format": [" "], "too_long": [LONG]},
    "content": {"invalid_type": [None, []], "invalid_format": ["\n", "a\0b"], "too_long": ["x" * 2001]},
    "status": {"invalid_choice": ["deleted"], "invalid_type": [None, 1, ["draft"]]},
    "version": {"unknown": [1]},
}


def cases(invalid: Invalid) -> list[tuple[Json, tuple[str, str]]]:
    """Return each value as a change of the body, with the location and the code of its error."""
    return [
        ({field: value}, (f"/{field}", code))
        for field, codes in invalid.items()
        for code, values in codes.items()
        for value in values
    ]


@pytest.mark.parametrize(
    ("changes", "expected"), [*cases(USER), *[({name: True}, ("", "unknown")) for name in ("<b>", "x" * 65)]]
)
async def test_invalid_user_fields_return_422(api: Api, changes: Json, expected: tuple[str, str]) -> None:
    assert findings(await api.client.post("/api/v1/users", json={**ADA, **changes})) == [expected]
    user = await api.user()
    assert findings(await api.client.patch(f"/api/v1/users/{user['id']}", json=changes)) == [expected]


@pytest.mark.parametrize(("changes", "expected"), cases(POST))
async def test_invalid_post_fields_return_422(api: Api, changes: Json, expected: tuple[str, str]) -> None:
    user = await api.user()
    given = {"author_id": user["id"], "title": "t", "content": "c"}
    assert findings(await api.client.post("/api/v1/posts", json={**given, **changes})) == [expected]
    post = await api.post(user)
    assert findings(await api.client.patch(f"/api/v1/posts/{post['id']}", json=changes)) == [expected]


async def test_post_post_returns_422_for_archived_status(api: Api) -> None:
    given = {"author_id": (await api.user())["id"], "title": "t", "content": "c", "status": "archived"}
    assert findings(await api.client.post("/api/v1/posts", json=given)) == [("/status", "invalid_choice")]


@pytest.mark.parametrize(
    "text",
    [
        "x",
        NOBODY.replace("-", ""),
        f"{{{NOBODY}}}",
        f"urn:uuid:{NOBODY}",
        f"{NOBODY[:-1]}g",
        f"{NOBODY}0",
        f"{NOBODY}-",
        f"{NOBODY}\n",
        f"{NOBODY[:-1]}\N{FULLWIDTH DIGIT SEVEN}",
    ],
)
async def test_noncanonical_ids_return_422(api: Api, text: str) -> None:
    given = {"author_id": text, "title": "t", "content": "c"}
    assert findings(await api.client.post("/api/v1/posts", json=given)) == [("/author_id", "invalid_format")]
    listed = await api.client.get("/api/v1/posts", params={"author_id": text})
    assert findings(listed) == [("author_id", "invalid_format")]
    for kind, method in [(kind, method) for kind in ("user", "post") for method in ("GET", "DELETE", "PATCH")]:
        response = await api.client.request(method, f"/api/v1/{kind}s/{quote(text)}", json={})
        assert findings(response) == [(f"{kind}_id", "invalid_format")]


async def test_ids_may_be_of_every_uuid_version(api: Api) -> None:
    for text in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", NOBODY]:
        check_problem(await api.client.get(f"/api/v1/users/{text}"), 404, "user-not-found")


LIMITS = ["0", "101", "-1", "%2B1", "01", "1.0", "1e1", "%201", "1%20", "", "x", "%D9%A1", "1_0", "9" * 5000]


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        *[(path, f"limit={text}", ("limit", "out_of_range")) for path in ("users", "posts") for text in LIMITS],
        *[
            ("users", f"is_active={text}", ("is_active", "invalid_choice"))
            for text in ["1", "0", "True", "yes", "on", "", "null"]
        ],
        *[("users", f"email={text}", ("email", "invalid_format")) for text in ["x", "", "a%00b%40example.org"]],
        *[("posts", f"status={text}", ("status", "invalid_choice")) for text in ["deleted", ""]],
        *[("posts", f"q={text}", ("q", "invalid_format")) for text in ["", "a%0Ab"]],
        ("posts", f"q={LONG}", ("q", "too_long")),
        ("posts", "author_id=", ("author_id", "invalid_format")),
        ("posts", "cursor=", ("cursor", "invalid_cursor")),
        ("users", "cursor=abc", ("cursor", "invalid_cursor")),
        ("users", "limit=1&limit=1", ("limit", "duplicate")),
        ("posts", "q=a&q=b", ("q", "duplicate")),
        ("api-keys", "limit=0", ("limit", "out_of_range")),
        ("api-keys", "name=x", ("name", "unknown")),
        ("users", "status=draft", ("status", "unknown")),
        ("users", "Limit=1", ("Limit", "unknown")),
        ("users", "=1", (None, "unknown")),
        ("users", "%3Cb%3E=1", (None, "unknown")),
        (f"users/{NOBODY}", "limit=1", ("limit", "unknown")),
        (f"posts/{NOBODY}", "x", ("x", "unknown")),
    ],
)
async def test_invalid_query_parameters_return_422(
    api: Api, path: str, query: str, expected: tuple[str | None, str]
) -> None:
    assert findings(await api.client.get(f"/api/v1/{path}?{query}")) == [expected]


@pytest.mark.parametrize("resource", ["users", "posts"])
async def test_unknown_query_parameter_returns_422(api: Api, resource: str) -> None:
    for method, path in [("POST", resource), ("PATCH", f"{resource}/{NOBODY}"), ("DELETE", f"{resource}/{NOBODY}")]:
        response = await api.client.request(method, f"/api/v1/{path}?dry_run=1", json={})
        assert findings(response) == [("dry_run", "unknown")]


@pytest.mark.parametrize("query", ["%", "%zz", "email=%f", "email=%ff", "email=%ed%a0%80", "a=\xff"])
async def test_malformed_query_string_returns_422(api: Api, query: str) -> None:
    raw = await call(api.app, "GET", "/api/v1/users", query=query.encode("latin-1"))
    assert findings(raw) == []
    assert raw.json()["detail"] == "The query string is not valid percent-encoded UTF-8."


async def test_validation_reports_all_errors(api: Api) -> None:
    response = await api.client.post("/api/v1/posts", json={"title": "", "content": 1, "status": "x", "more": 1})
    assert dict(findings(response)) == {
        "/author_id": "required",
        "/content": "invalid_type",
        "/more": "unknown",
        "/status": "invalid_choice",
        "/title": "invalid_format",
    }
    response = await api.client.get("/api/v1/users?limit=0&is_active=x&email=x&cursor=x")
    assert dict(findings(response)) == {
        "cursor": "invalid_cursor",
        "email": "invalid_format",
        "is_active": "invalid_choice",
        "limit": "out_of_range",
    }
    response = await api.client.post("/api/v1/users", json={**ADA, **{f"f{n}": n for n in range(200)}})
    assert len(findings(response)) == MAX_ERRORS


@pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "true", "1.5"])
async def test_body_other_than_an_object_returns_422(api: Api, body: str) -> None:
    for method, path in [("POST", "/api/v1/users"), ("PATCH", f"/api/v1/users/{NOBODY}")]:
        headers = {"content-type": "application/json"}
        response = await api.client.request(method, path, content=body, headers=headers)
        assert findings(response) == [("", "invalid_type")]


async def test_validation_codes_are_documented(api: Api) -> None:
    page = (await api.client.get("/problems/validation-failed")).text
    for code in ERROR_CODES:
        assert f"<code>{code}</code>" in page
