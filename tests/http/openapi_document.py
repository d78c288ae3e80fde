"""The OpenAPI document in openapi.json, and checks of responses against it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
from openapi_schema_validator import OAS31Validator, oas31_format_checker

from adapters.http.openapi.components import Json
from adapters.http.problems.responses import PROBLEM_JSON

DOCUMENT: Json = json.loads((Path(__file__).parents[2] / "openapi.json").read_text("utf-8"))
METHODS = {"get", "head", "post", "patch", "delete"}
UNDOCUMENTED_HEADERS = {"content-type", "content-length", "connection", "vary"}
"""Headers that OpenAPI ignores, or that concern the connection or caches. CORS headers are undocumented, too."""


def operations() -> Iterator[tuple[str, str, Json]]:
    """Yield the method, the path and the documentation of each operation."""
    for path, item in DOCUMENT["paths"].items():
        for method, operation in item.items():
            assert method in METHODS
            yield method, path, operation


_OPERATIONS = [(method, re.compile(re.sub("{.+?}", "[^/]+", path) + "/?"), one) for method, path, one in operations()]


def resolved(thing: Json) -> Json:
    """Follow references within the document."""
    while "$ref" in thing:
        found: Any = DOCUMENT
        for part in thing["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        thing = found
    return thing


def examples(content: Json) -> Iterator[Any]:
    """Yield the examples of a media type."""
    if "example" in content:
        yield content["example"]
    for example in content.get("examples", {}).values():
        yield resolved(example)["value"]


def check(schema: Json, value: object) -> None:
    """Check a value against a schema of the document."""
    whole = {**schema, "components": DOCUMENT["components"]}
    assert list(OAS31Validator(whole, format_checker=oas31_format_checker).iter_errors(value)) == []


def check_documented(operation: Json, response: httpx.Response) -> None:
    """Check that the document has the status, the headers and the body of a response."""
    documented = check_documented_head(operation, response)
    for name, header in documented["headers"].items():
        if name in response.headers:
            check(resolved(header)["schema"], response.headers[name])
    if "application/json" in documented.get("content", {}) and response.request.method != "HEAD":
        check(documented["content"]["application/json"]["schema"], response.json())


def check_documented_head(operation: Json, response: httpx.Response) -> Json:
    """Check that the document has the status, the header names and the problem; return the documented response."""
    where = f"{response.request.method} {response.request.url.path} {response.status_code}"
    assert str(response.status_code) in operation["responses"], where
    documented = resolved(operation["responses"][str(response.status_code)])
    names = {name.lower() for name in documented["headers"]}
    required = {name.lower() for name, header in documented["headers"].items() if resolved(header)["required"]}
    sent = {name for name in response.headers if not name.startswith("access-control-")} - UNDOCUMENTED_HEADERS
    assert required <= sent <= names, where
    if response.content:
        media_type = response.headers["content-type"].partition(";")[0]
        content = documented["content"][media_type]
        assert media_type != PROBLEM_JSON or response.json()["type"].rpartition("/")[2] in content["examples"], where
    return documented


async def check_known_operation(response: httpx.Response) -> None:
    """Check a response as `check_documented_head` does, if the document has its operation: an event hook of httpx."""
    await response.aread()
    for method, path, operation in _OPERATIONS:
        if method == response.request.method.lower() and path.fullmatch(response.request.url.path):
            check_documented_head(operation, response)
