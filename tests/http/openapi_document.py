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
from deploy.openapi_changes import resolve

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
    return resolve(DOCUMENT, thing)


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


async def check_documented(response: httpx.Response) -> None:
    """Check a response against its operation, if the document has it: an event hook of httpx."""
    await response.aread()
    for method, path, operation in _OPERATIONS:
        if method == response.request.method.lower() and path.fullmatch(response.request.url.path):
            check_response(operation, response)


def check_response(operation: Json, response: httpx.Response) -> None:
    """Check that the operation has the status of a response, and that its headers and body match their schemas."""
    where = f"{response.request.method} {response.request.url.path} {response.status_code}"
    assert str(response.status_code) in operation["responses"], where
    documented = resolved(operation["responses"][str(response.status_code)])
    headers = {name.lower(): resolved(header) for name, header in documented["headers"].items()}
    sent = {name for name in response.headers if not name.startswith("access-control-")} - UNDOCUMENTED_HEADERS
    assert {name for name, header in headers.items() if header["required"]} <= sent <= headers.keys(), where
    for name in sent:
        is_integer = headers[name]["schema"]["type"] == "integer"
        check(headers[name]["schema"], int(response.headers[name]) if is_integer else response.headers[name])
    if response.content:
        media_type = response.headers["content-type"].partition(";")[0]
        content = documented["content"][media_type]
        body: Any = response.json() if media_type.endswith("json") else response.text
        check(content["schema"], body)
        assert media_type != PROBLEM_JSON or body["type"].rpartition("/")[2] in content["examples"], where
