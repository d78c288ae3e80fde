"""Tests for JSON bodies, their media types and their encodings."""

import pytest
from starlette.types import Message

from adapters.http.middleware.request_limits import RequestLimits
from tests.http.support import CHUNKED, JSON_TYPE, NOBODY, Api, call, check_problem, findings, serving

JSON = {"content-type": "application/json"}
DEEPEST = 32
EMAIL = b'"email": "ada@example.org"'
BODY = b"{" + EMAIL + b"}"
USERS = "/api/v1/users"


@pytest.mark.parametrize(
    "body",
    [
        *[b" ", b"{", b"{} {}", b'{"email": "ada@example.org",}', b"\xef\xbb\xbf{" + EMAIL + b"}"],
        *[b'{"email": "%s"}' % text for text in (b"\xff", b"\xed\xa0\x80", b"\\ud800", b"a\tb")],
        *[
            b'{"email": %s}' % number
            for number in (b"NaN", b"Infinity", b"-Infinity", b"1e999", b"-1e999", b"9" * 5000)
        ],
        *["{}".encode("utf-16"), b'{"\\udfff": 1}'],
        *[b"{" + EMAIL + b", " + EMAIL + b"}", b'{"a": {"b": 1, "\\u0062": 2}}'],
        b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
        b'{"a": ' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1),
        b"[" * 30_000,
    ],
)
async def test_malformed_json_returns_400(api: Api, body: bytes) -> None:
    for method, path in [("POST", USERS), ("PATCH", f"{USERS}/{NOBODY}")]:
        response = await api.client.request(method, path, content=body, headers=JSON)
        assert "errors" not in check_problem(response, 400, "malformed-json")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "The body is empty."),
        (b'{\n "a": x}', "Invalid JSON at line 2, column 7."),
        (b'{"a": 1, "a": 1}', "An object in the body has duplicate names."),
        (b"[" * 33 + b"]" * 33, "The body has more than 32 levels of nesting."),
        (b'{"a": 1e400}', "The body contains a number that is too large."),
    ],
)
async def test_malformed_json_detail_names_the_error(api: Api, body: bytes, detail: str) -> None:
    response = await api.client.post(USERS, content=body, headers=JSON)
    assert check_problem(response, 400, "malformed-json")["detail"] == detail


@pytest.mark.parametrize(
    "body",
    [
        b"{" + EMAIL + b', "full_name": "\\ud83e\\udd89"}',
        b"\r\n\t {" + EMAIL + b"} ",
        b'{"\\u0065mail": "ada@example.org"}',
        b"{" + EMAIL + b', "full_name": "' + b"[{" * 90 + b'"}',
    ],
)
async def test_unusual_json_is_accepted(api: Api, body: bytes) -> None:
    assert (await api.client.post(USERS, content=body, headers=JSON)).status_code == 201


async def test_json_depth_limit_is_configurable(api: Api) -> None:
    body = b"[" * DEEPEST + b"]" * DEEPEST
    assert findings(await api.client.post(USERS, content=body, headers=JSON)) == [("", "invalid_type")]
    async with serving(limits=RequestLimits(max_json_depth=2)) as shallow:
        assert findings(await shallow.client.post(USERS, content=b"[[]]", headers=JSON)) == [("", "invalid_type")]
        response = await shallow.client.post(USERS, content=b"[[[]]]", headers=JSON)
        assert check_problem(response, 400, "malformed-json")["detail"] == "The body has more than 2 levels of nesting."


@pytest.mark.parametrize(
    "headers",
    [
        {"content-type": "Application/JSON"},
        {"content-type": "application/json; charset=utf-8"},
        {"content-type": "application/json;charset=UTF-8"},
        {"content-type": 'application/json ; charset="utf-8"'},
        *[{"content-type": f"application/json{end}"} for end in (";", " ; ", ";charset=utf-8;", ";;charset=utf-8")],
        *[
            {"content-type": f"application/json; {parameter}"}
            for parameter in ("charset=utf8", "v=1", "odata.metadata=minimal", 'profile="a;b"', "ext", 'x="charset=y"')
        ],
        *[{**JSON, "content-encoding": encoding} for encoding in ("Identity", "")],
    ],
)
async def test_supported_media_type_and_encoding_are_accepted(api: Api, headers: dict[str, str]) -> None:
    assert (await api.client.post(USERS, content=BODY, headers=headers)).status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "", "json", "text/plain", "text/json", "application/x-www-form-urlencoded", "application/vnd.api+json",
        "application/json; charset=latin-1", "application/json;CHARSET=utf-16 ",
        'application/json; v=1; charset="utf-80"',
        "application/json, application/json",
    ],
)  # fmt: skip
async def test_unsupported_media_type_returns_415(api: Api, content_type: str) -> None:
    both = "application/merge-patch+json, application/json"
    for method, path, name, accepted in [
        ("POST", USERS, "accept-post", "application/json"),
        ("PATCH", f"{USERS}/{NOBODY}", "accept-patch", both),
    ]:
        response = await api.client.request(method, path, content=BODY, headers={"content-type": content_type})
        check_problem(response, 415, "unsupported-media-type")
        assert response.headers[name] == accepted


@pytest.mark.parametrize("types", [[], [JSON_TYPE[1]] * 2, [b"application/merge-patch+json"]])
async def test_post_returns_415_unless_its_only_type_is_json(api: Api, types: list[bytes]) -> None:
    response = await call(api.app, "POST", USERS, headers=[(b"content-type", one) for one in types])
    check_problem(response, 415, "unsupported-media-type")


@pytest.mark.parametrize("encoding", ["gzip", "identity, gzip"])
async def test_content_encoding_returns_415(api: Api, encoding: str) -> None:
    response = await api.client.post(USERS, content=BODY, headers={**JSON, "content-encoding": encoding})
    check_problem(response, 415, "unsupported-media-type")
    assert response.headers["accept-encoding"] == "identity"


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_get_and_delete_ignore_a_body(api: Api, method: str) -> None:
    path = f"{USERS}/{(await api.user())['id']}"
    response = await api.client.request(method, path, content=b"\xff{", headers={"content-type": "text/plain"})
    assert response.status_code in {200, 204}


async def test_chunked_body_is_accepted(api: Api) -> None:
    pieces: list[Message] = [
        {"type": "http.request", "body": b"{" + EMAIL, "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": b"}"},
    ]
    response = await call(api.app, "POST", USERS, headers=[JSON_TYPE, CHUNKED], received=pieces)
    assert response.status_code == 201
    assert "connection" not in response.headers
