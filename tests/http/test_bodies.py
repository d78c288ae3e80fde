"""Which bodies are read at all."""

import pytest
from starlette.types import Message

from adapters.http.limits import RequestLimits
from tests.http.support import Api, call, check_problem, findings, serving

JSON = {"content-type": "application/json"}
DEEPEST = 32
EMAIL = b'"email": "ada@example.org"'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{",
        b"{} {}",
        b"{'email': 'ada@example.org'}",
        b'{"email": "ada@example.org",}',
        b"\xef\xbb\xbf{" + EMAIL + b"}",
        b'{"email": "\xff"}',
        b'{"email": "\xed\xa0\x80"}',
        "{}".encode("utf-16"),
        "{}".encode("utf-32"),
        b'{"email": "\\ud800"}',
        b'{"\\udfff": 1}',
        b'{"email": "a\tb"}',
        b'{"email": NaN}',
        b'{"email": Infinity}',
        b'{"email": -Infinity}',
        b'{"email": 1e999}',
        b'{"email": -1e999}',
        b'{"email": ' + b"9" * 5000 + b"}",
        b"{" + EMAIL + b", " + EMAIL + b"}",
        b'{"a": {"b": 1, "\\u0062": 2}}',
        b"[" * (DEEPEST + 1) + b"]" * (DEEPEST + 1),
        b'{"a": ' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1),
        b"[" * 30_000,
        b"[" * 30_000 + b"]" * 30_000,
    ],
)
async def test_malformed_json(api: Api, body: bytes) -> None:
    problem = check_problem(await api.client.post("/api/v1/users", content=body, headers=JSON), 400, "malformed-json")
    assert "errors" not in problem
    user = await api.user()
    response = await api.client.patch(f"/api/v1/users/{user['id']}", content=body, headers=JSON)
    check_problem(response, 400, "malformed-json")


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "The body is empty."),
        (b'{\n "a": x}', "The body is not JSON: the error is in line 2, column 7."),
        (b'{"a": 1, "a": 1}', "An object in the body has two members of the same name."),
        (b"[" * 33 + b"]" * 33, "The body is nested deeper than 32 levels."),
        (b'{"a": 1e400}', "The body holds a number that is too large."),
    ],
)
async def test_malformed_json_says_what_is_wrong(api: Api, body: bytes, detail: str) -> None:
    response = await api.client.post("/api/v1/users", content=body, headers=JSON)
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
async def test_unusual_json_is_read(api: Api, body: bytes) -> None:
    assert (await api.client.post("/api/v1/users", content=body, headers=JSON)).status_code == 201


async def test_nesting_up_to_the_limit_is_a_matter_of_fields(api: Api) -> None:
    body = b"[" * DEEPEST + b"]" * DEEPEST
    assert findings(await api.client.post("/api/v1/users", content=body, headers=JSON)) == [("", "type")]


async def test_the_limit_of_nesting_can_be_chosen() -> None:
    async with serving(limits=RequestLimits(max_json_depth=2)) as api:
        assert findings(await api.client.post("/api/v1/users", content=b"[[]]", headers=JSON)) == [("", "type")]
        response = await api.client.post("/api/v1/users", content=b"[[[]]]", headers=JSON)
        assert check_problem(response, 400, "malformed-json")["detail"] == "The body is nested deeper than 2 levels."


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json ; charset="utf-8"',
    ],
)
async def test_media_types_that_are_read(api: Api, content_type: str) -> None:
    response = await api.client.post(
        "/api/v1/users", content=b"{" + EMAIL + b"}", headers={"content-type": content_type}
    )
    assert response.status_code == 201


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "text/json",
        "application/x-www-form-urlencoded",
        "application/vnd.api+json",
        "application/json; charset=latin-1",
        "application/json; profile=x",
        "application/json;",
        "application/json, application/json",
        "json",
    ],
)
async def test_media_types_that_are_not(api: Api, content_type: str) -> None:
    headers = {"content-type": content_type}
    response = await api.client.post("/api/v1/users", content=b"{" + EMAIL + b"}", headers=headers)
    check_problem(response, 415, "unsupported-media-type")
    assert response.headers["accept-post"] == "application/json"
    user = await api.user()
    response = await api.client.patch(f"/api/v1/users/{user['id']}", content=b"{}", headers=headers)
    check_problem(response, 415, "unsupported-media-type")
    assert response.headers["accept-patch"] == "application/merge-patch+json, application/json"


async def test_merge_patch_is_not_for_post(api: Api) -> None:
    headers = {"content-type": "application/merge-patch+json"}
    response = await api.client.post("/api/v1/users", content=b"{" + EMAIL + b"}", headers=headers)
    check_problem(response, 415, "unsupported-media-type")


async def test_missing_or_repeated_content_type(api: Api) -> None:
    line = (b"content-type", b"application/json")
    for headers in ([], [line, line]):
        assert (await call(api.app, "POST", "/api/v1/users", headers=headers)).status == 415


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
async def test_compressed_bodies_are_refused(api: Api, encoding: str) -> None:
    headers = {**JSON, "content-encoding": encoding}
    response = await api.client.post("/api/v1/users", content=b"{" + EMAIL + b"}", headers=headers)
    check_problem(response, 415, "unsupported-media-type")
    assert response.headers["accept-encoding"] == "identity"


async def test_identity_is_no_compression(api: Api) -> None:
    headers = {**JSON, "content-encoding": "Identity"}
    response = await api.client.post("/api/v1/users", content=b"{" + EMAIL + b"}", headers=headers)
    assert response.status_code == 201


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_body_is_ignored_where_none_is_expected(api: Api, method: str) -> None:
    user = await api.user()
    headers = {"content-type": "text/plain"}
    response = await api.client.request(method, f"/api/v1/users/{user['id']}", content=b"\xff{", headers=headers)
    assert response.status_code in {200, 204}


async def test_body_in_pieces(api: Api) -> None:
    pieces: list[Message] = [
        {"type": "http.request", "body": b"{" + EMAIL, "more_body": True},
        {"type": "http.request", "more_body": True},
        {"type": "http.request", "body": b"}"},
    ]
    headers = [(b"content-type", b"application/json"), (b"transfer-encoding", b"chunked")]
    response = await call(api.app, "POST", "/api/v1/users", headers=headers, received=pieces)
    assert response.status == 201
    assert "connection" not in response.headers
