"""Tests for the validation of bodies and query parameters."""

from typing import Any
from urllib.parse import quote

import pytest

from adapters.http.problems.responses import ERROR_CODES, MAX_ERRORS
from tests.http.support import ADA, NOBODY, Api, call, check_problem, findings

LONG = "x" * 201


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"email": 1}, ("/email", "invalid_type")),
        ({"email": None}, ("/email", "invalid_type")),
        ({"email": "no address"}, ("/email", "invalid_format")),
        ({"email": " ada@example.org"}, ("/email", "invalid_format")),
        ({"email": "a" * 250 + "@x.org"}, ("/email", "too_long")),
        ({"full_name": 1}, ("/full_name", "invalid_type")),
        ({"full_name": ""}, ("/full_name", "invalid_format")),
        ({"full_name": "a\0b"}, ("/full_name", "invalid_format")),
        ({"full_name": LONG}, ("/full_name", "too_long")),
        ({"is_active": 1}, ("/is_active", "invalid_type")),
        ({"is_active": "true"}, ("/is_active", "invalid_type")),
        ({"is_active": None}, ("/is_active", "invalid_type")),
        ({"admin": True}, ("/admin", "unknown")),
        ({"<b>": True}, ("", "unknown")),
        ({"x" * 65: True}, ("", "unknown")),
        ({"id": NOBODY}, ("/id", "unknown")),
    ],
)
async def test_invalid_user_fields_return_422(api: Api, changes: dict[str, Any], expected: tuple[str, str]) -> None:
    assert findings(await api.client.post("/api/v1/users", json={**ADA, **changes})) == [expected]
    user = await api.user()
    patched = await api.client.patch(f"/api/v1/users/{user['id']}", json=changes)
    assert findings(patched) == [expected]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"title": None}, ("/title", "invalid_type")),
        ({"title": 7}, ("/title", "invalid_type")),
        ({"title": " "}, ("/title", "invalid_format")),
        ({"title": LONG}, ("/title", "too_long")),
        ({"content": []}, ("/content", "invalid_type")),
        ({"content": "\n"}, ("/content", "invalid_format")),
        ({"content": "a\0b"}, ("/content", "invalid_format")),
        ({"content": "x" * 2001}, ("/content", "too_long")),
        ({"status": "deleted"}, ("/status", "invalid_choice")),
        ({"status": 1}, ("/status", "invalid_type")),
        ({"status": ["draft"]}, ("/status", "invalid_type")),
        ({"version": 1}, ("/version", "unknown")),
    ],
)
async def test_invalid_post_fields_return_422(api: Api, changes: dict[str, Any], expected: tuple[str, str]) -> None:
    user = await api.user()
    given = {"author_id": user["id"], "title": "t", "content": "c"}
    assert findings(await api.client.post("/api/v1/posts", json={**given, **changes})) == [expected]
    post = await api.post(user)
    patched = await api.client.patch(f"/api/v1/posts/{post['id']}", json=changes)
    assert findings(patched) == [expected]


NONCANONICAL_IDS = [
    "x",
    "0198a3c46f2b7d31a6f0c2b9e4d81357",
    "{0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357}",
    "urn:uuid:0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357",
    "0198a3c4-6f2b-7d31-a6f0-c2b9e4d8135g",
    "0198a3c4-6f2b-7d31-a6f0-c2b9e4d813577",
    "0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357-",
    "0198a3c4-6f2b-7d31-a6f0-c2b9e4d81357\n",
    "0198a3c4-6f2b-7d31-a6f0-c2b9e4d8135\N{FULLWIDTH DIGIT SEVEN}",
]


@pytest.mark.parametrize("text", NONCANONICAL_IDS)
async def test_noncanonical_ids_return_422(api: Api, text: str) -> None:
    given = {"author_id": text, "title": "t", "content": "c"}
    assert findings(await api.client.post("/api/v1/posts", json=given)) == [("/author_id", "invalid_format")]
    assert findings(await api.client.post("/api/v1/posts", json={**given, "author_id": 1})) == [
        ("/author_id", "invalid_type")
    ]
    assert findings(await api.client.get("/api/v1/posts", params={"author_id": text})) == [
        ("author_id", "invalid_format")
    ]
    for kind, method in [("user", "GET"), ("user", "DELETE"), ("post", "GET"), ("post", "DELETE")]:
        response = await api.client.request(method, f"/api/v1/{kind}s/{quote(text)}")
        assert findings(response) == [(f"{kind}_id", "invalid_format")]
    assert findings(await api.client.patch(f"/api/v1/users/{quote(text)}", json={})) == [("user_id", "invalid_format")]


async def test_ids_may_be_of_every_uuid_version(api: Api) -> None:
    for text in ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", NOBODY]:
        check_problem(await api.client.get(f"/api/v1/users/{text}"), 404, "user-not-found")


@pytest.mark.parametrize(
    ("path", "query", "expected"),
    [
        *[
            (path, f"limit={text}", ("limit", "out_of_range"))
            for path in ("users", "posts")
            for text in [
                "0",
                "101",
                "-1",
                "%2B1",
                "01",
                "1.0",
                "1e1",
                "%201",
                "1%20",
                "",
                "x",
                "%D9%A1",
                "1_0",
                "9" * 5000,
            ]
        ],
        *[
            ("users", f"is_active={text}", ("is_active", "invalid_choice"))
            for text in ["1", "0", "True", "yes", "on", "", "null"]
        ],
        ("users", "email=x", ("email", "invalid_format")),
        ("users", "email=", ("email", "invalid_format")),
        ("users", "email=a%00b%40example.org", ("email", "invalid_format")),
        ("posts", "status=deleted", ("status", "invalid_choice")),
        ("posts", "status=", ("status", "invalid_choice")),
        ("posts", "author_id=", ("author_id", "invalid_format")),
        ("posts", "cursor=", ("cursor", "invalid_cursor")),
        ("users", "cursor=abc", ("cursor", "invalid_cursor")),
        ("users", "limit=1&limit=1", ("limit", "duplicate")),
        ("api-keys", "limit=0", ("limit", "out_of_range")),
        ("api-keys", "name=x", ("name", "unknown")),
        ("posts", "q=a&q=b", ("q", "duplicate")),
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


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "users"),
        ("POST", "posts"),
        ("PATCH", f"users/{NOBODY}"),
        ("PATCH", f"posts/{NOBODY}"),
        ("DELETE", f"users/{NOBODY}"),
        ("DELETE", f"posts/{NOBODY}"),
    ],
)
async def test_unknown_query_parameter_returns_422(api: Api, method: str, path: str) -> None:
    response = await api.client.request(method, f"/api/v1/{path}?dry_run=1", json={})
    assert findings(response) == [("dry_run", "unknown")]


@pytest.mark.parametrize("query", ["%", "%zz", "email=%f", "email=%ff", "email=%ed%a0%80", "a=\xff"])
async def test_malformed_query_string_returns_422(api: Api, query: str) -> None:
    raw = await call(api.app, "GET", "/api/v1/users", query=query.encode("latin-1"))
    assert findings(raw.parsed) == []
    assert raw.parsed.json()["detail"] == "The query string is not valid percent-encoded UTF-8."


async def test_validation_reports_all_errors(api: Api) -> None:
    response = await api.client.post("/api/v1/posts", json={"title": "", "content": 1, "status": "x", "more": 1})
    assert sorted(findings(response), key=str) == [
        ("/author_id", "required"),
        ("/content", "invalid_type"),
        ("/more", "unknown"),
        ("/status", "invalid_choice"),
        ("/title", "invalid_format"),
    ]
    response = await api.client.get("/api/v1/users?limit=0&is_active=x&email=x&cursor=x")
    assert sorted(findings(response), key=str) == [
        ("cursor", "invalid_cursor"),
        ("email", "invalid_format"),
        ("is_active", "invalid_choice"),
        ("limit", "out_of_range"),
    ]


async def test_validation_limits_the_number_of_errors(api: Api) -> None:
    response = await api.client.post("/api/v1/users", json={**ADA, **{f"f{n}": n for n in range(200)}})
    assert len(findings(response)) == MAX_ERRORS


@pytest.mark.parametrize("body", ["[]", "1", '"x"', "null", "true", "1.5"])
async def test_body_other_than_an_object_returns_422(api: Api, body: str) -> None:
    headers = {"content-type": "application/json"}
    assert findings(await api.client.post("/api/v1/users", content=body, headers=headers)) == [("", "invalid_type")]
    user = await api.user()
    response = await api.client.patch(f"/api/v1/users/{user['id']}", content=body, headers=headers)
    assert findings(response) == [("", "invalid_type")]


async def test_validation_codes_are_documented(api: Api) -> None:
    page = (await api.client.get("/problems/validation-failed")).text
    for code in ERROR_CODES:
        assert f"<code>{code}</code>" in page
