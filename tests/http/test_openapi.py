"""Tests for the OpenAPI document, and for responses that must match it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from adapters.http.openapi.document import openapi_document
from adapters.http.problems.catalog import PROBLEMS
from adapters.http.problems.responses import PROBLEM_JSON, example_problem
from adapters.http.routers import api_keys, posts, users
from domain.api_keys import NewApiKey, Scope
from domain.posts import NewPost, Post, PostChanges
from domain.users import NewUser, User, UserChanges
from tests.http.openapi_document import DOCUMENT, check, check_documented, examples, operations, resolved
from tests.http.support import Api, Json

# All that Go (RE2), Java, and ECMAScript with and without its flag `u` do not share, and what their literals forbid.
UNPORTABLE = re.compile(
    r"\\(?![tnr^$\\.*+?()\[\]{}|]|x[0-9A-F]{2})|\(\?(?!:)|[*+?}]\+|\{(?:\d*,)?\d{4,}"
    r"|[^\x20-\u2027\u202A-\uD7FF\uE000-\uFEFE\uFF00-\uFFFF]"
)


def test_openapi_lists_users_posts_and_keys_in_this_order() -> None:
    """Swagger UI shows operations in the order of the document."""
    assert [tag["name"] for tag in DOCUMENT["tags"]] == ["users", "posts", "api-keys", "audit", "health"]
    paths = [path.partition("{")[0] for path in DOCUMENT["paths"] if path.startswith("/api/")]
    paths = [path for path in paths if not path.startswith(("/api/v1/audit", "/api/v1/erasures"))]
    assert [*dict.fromkeys(paths)] == [
        f"/api/v1/{name}{end}" for name in ("users", "posts", "api-keys") for end in ("", "/")
    ]
    assert all(list(DOCUMENT["paths"][path]) == ["get", "post"] for path in {*paths} if not path.endswith("/"))


async def test_openapi_json_equals_the_generated_document(api: Api) -> None:
    text = openapi_document(api.app)
    assert json.loads(text) == DOCUMENT
    assert (Path(__file__).parents[2] / "openapi.json").read_text("utf-8") == text
    response = await api.client.get("/openapi.json")
    assert response.text == text
    assert response.headers["content-type"] == "application/json"
    headers = {"if-none-match": response.headers["etag"]}
    assert (await api.client.get("/openapi.json/", headers=headers)).status_code == 304


def test_openapi_document_is_valid() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()


def test_openapi_describes_every_operation() -> None:
    ids = []
    for _, path, operation in operations():
        ids.append(operation["operationId"])
        assert operation["summary"]
        assert operation["description"]
        assert {*operation["tags"]} < {tag["name"] for tag in DOCUMENT["tags"]}
        assert {"405", "413", "500"} <= set(operation["responses"])
        if path.startswith("/api/v1") or path == "/metrics":
            assert {"401", "403", "422", "429", "503"} <= set(operation["responses"])
            assert operation["security"] == [{"bearer": []}, {"header": []}]
            assert operation["x-required-scope"] in set(Scope)
        else:
            assert operation["security"] == []
    assert len(set(ids)) == len(ids) >= 20


def test_openapi_links_refer_to_operations() -> None:
    found = {
        link["operationId"]
        for _, _, operation in operations()
        for response in map(resolved, operation["responses"].values())
        for link in response.get("links", {}).values()
    }
    assert {"get_user", "update_post", "list_posts", "revoke_api_key"} <= found
    assert found <= {operation["operationId"] for _, _, operation in operations()}


def test_openapi_operations_have_headers_and_valid_examples() -> None:
    seen = set()
    for method, path, operation in operations():
        takes_a_key = operation["security"] != []
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert list(examples(content)), (method, path)
            for example in examples(content):
                check(content["schema"], example)
        for status, reference in operation["responses"].items():
            response = resolved(reference)
            where = f"{method} {path} {status}"
            assert {"X-Request-ID", "Cache-Control"} <= set(response["headers"]), where
            assert all(resolved(header)["schema"] for header in response["headers"].values())
            for content in response.get("content", {}).values():
                assert list(examples(content)), where
                for example in examples(content):
                    check(content["schema"], example)
            for code, example in response.get("content", {}).get(PROBLEM_JSON, {}).get("examples", {}).items():
                value = resolved(example)["value"]
                assert (value["type"], str(value["status"])) == (f"/problems/{code}", status)
                seen.add(code)
            may_pass = status in {"429", "503"} or (status == "409" and method == "post")
            assert ("Retry-After" in response["headers"]) == (may_pass and takes_a_key), where
            assert ("WWW-Authenticate" in response["headers"]) == (status in {"401", "403"}), where
            is_counted = takes_a_key and status not in {"401", "405", "431"}
            assert ("RateLimit" in response["headers"]) == is_counted, where
            assert ("Allow" in response["headers"]) == (status == "405"), where
    assert seen == set(PROBLEMS) - {"not-found"}


def bounded(schema: Json, where: str) -> None:
    schema = resolved(schema)
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "string" in kinds and not {"enum", "const"} & set(schema):
        assert {"maxLength", "format", "pattern"} & set(schema), where
    if "integer" in kinds:
        assert {"minimum", "maximum", "format"} <= set(schema), where
    if "array" in kinds:
        assert "maxItems" in schema, where
        bounded(schema["items"], where)
    for name, inner in schema.get("properties", {}).items():
        bounded(inner, f"{where}.{name}")
    for inner in schema.get("anyOf", []):
        bounded(inner, where)


def test_openapi_schemas_are_bounded() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        bounded(schema, name)
        for example in schema.get("examples", []):
            check(schema, example)
        if name.endswith("Request"):
            assert schema["additionalProperties"] is False
    for name, header in DOCUMENT["components"]["headers"].items():
        bounded(header["schema"], name)
        check(header["schema"], header["example"])
    for _, path, operation in operations():
        for parameter in map(resolved, operation.get("parameters", [])):
            bounded(parameter["schema"], path)
            assert parameter["description"], parameter["name"]
            check(parameter["schema"], *parameter["schema"]["examples"])
            assert not {"example", "examples"} & set(parameter), "Swagger UI would send it"


def schemas(node: Any) -> Iterator[Json]:
    """Yield each object in the document that has a type or a reference."""
    if isinstance(node, dict):
        if "type" in node or "$ref" in node:
            yield node
        for name, value in node.items():
            if name not in {"example", "examples", "value"}:
                yield from schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas(value)


def test_openapi_schemas_suit_code_generators() -> None:
    for schema in schemas(DOCUMENT):
        assert not isinstance(schema.get("title"), str), schema
        assert "anyOf" not in schema, schema
    responses, names = DOCUMENT["components"]["responses"], set(DOCUMENT["components"]["schemas"])
    assert not {f"{name}{end}" for name in responses for end in ("", "Response")} & names
    assert all(re.fullmatch("[A-Z][A-Za-z]+(?<!Input)(?<!Output)", name) for name in [*responses, *names])
    enums = [schema["enum"] for schema in schemas(DOCUMENT["components"]) if "$ref" not in schema and "enum" in schema]
    assert len(enums) == len({tuple(sorted(enum)) for enum in enums})


def test_openapi_patterns_are_portable() -> None:
    patterns = {schema["pattern"] for schema in schemas(DOCUMENT) if "pattern" in schema}
    assert len(patterns) >= 10
    assert not list(filter(UNPORTABLE.search, patterns))


@pytest.mark.parametrize(
    "pattern",
    [
        r"\u0020",
        r"\p{L}",
        r"\x{20}",
        r"\d",
        r"\-",
        r"\1",
        "(?=a)",
        "(?<!a)",
        "(?i)a",
        "a++",
        "a{2}+",
        "a{1,1001}",
        "[\u2028]",
        "[\ufeff]",
    ],
)
def test_unportable_pattern_is_detected(pattern: str) -> None:
    assert UNPORTABLE.search(pattern)


@pytest.mark.parametrize(
    ("model", "fields"),
    [
        (users.UserResponse, User),
        (users.CreateUserRequest, NewUser),
        (users.UpdateUserRequest, UserChanges),
        (posts.PostResponse, Post),
        (posts.CreatePostRequest, NewPost),
        (posts.UpdatePostRequest, PostChanges),
        (api_keys.CreateApiKeyRequest, NewApiKey),
    ],
)
def test_model_has_every_field_of_the_domain(model: type, fields: type) -> None:
    assert set(get_type_hints(model)) == set(get_type_hints(fields))


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (418, {}, {"status": "ok"}),
        (200, {"X-Unknown": "1"}, {"status": "ok"}),
        (200, {"Cache-Control": "NO STORE"}, {"status": "ok"}),
        (200, {}, {"status": "unknown"}),
        (200, {"Content-Type": "text/html"}, {"status": "ok"}),
        (405, {"Content-Type": PROBLEM_JSON, "Allow": "GET"}, example_problem(PROBLEMS["forbidden"], "")),
    ],
)
async def test_undocumented_response_is_detected(api: Api, status: int, headers: Json, body: object) -> None:
    genuine = await api.client.get("/livez")
    changed = httpx.Response(status, headers={**genuine.headers, **headers}, json=body, request=genuine.request)
    with pytest.raises((AssertionError, KeyError)):
        await check_documented(changed)


async def test_public_responses_match_the_openapi_document(api: Api) -> None:
    for path in ("/livez", "/readyz"):
        assert (await api.client.get(path)).status_code == 200  # the client checks each response
    for response in [
        await api.client.get("/api/v1/users?limit=0"),
        await api.client.get("/nowhere"),
        await api.client.put("/api/v1/users"),
        await api.client.post("/api/v1/users", content=b"{", headers={"content-type": "application/json"}),
    ]:
        check({"$ref": "#/components/schemas/Problem"}, response.json())
