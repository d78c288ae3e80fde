"""Tests for the comparison of OpenAPI documents before a release."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.openapi_changes import METHODS, breaking_changes
from tests.deploy.checkouts import ROOT

Document = dict[str, Any]
Change = Callable[[Document], object]

DOCUMENT: Document = json.loads((ROOT / "openapi.json").read_text("utf-8"))
USERS = "/api/v1/users"


def compare(change: Change) -> list[str]:
    """Return the breaking changes after a change of the document."""
    changed = copy.deepcopy(DOCUMENT)
    change(changed)
    assert changed != DOCUMENT
    return list(breaking_changes(DOCUMENT, changed))


def schema(document: Document, name: str) -> Document:
    """Return a schema of the document."""
    found: Document = document["components"]["schemas"][name]
    return found


def operation(document: Document, method: str = "post", path: str = USERS) -> Document:
    """Return an operation of the document."""
    found: Document = document["paths"][path][method]
    return found


BREAKING: list[tuple[str, Change, str]] = [
    ("a removed path", lambda new: new["paths"].pop("/livez"), "GET /livez was removed"),
    ("a removed operation", lambda new: new["paths"][USERS].pop("post"), f"POST {USERS} was removed"),
    (
        "a removed query parameter",
        lambda new: operation(new, "get")["parameters"].clear(),
        f"GET {USERS}: query parameter limit is no longer accepted",
    ),
    (
        "a new required query parameter",
        lambda new: operation(new, "get")["parameters"].append(
            {"in": "query", "name": "tenant", "required": True, "schema": {"type": "string"}}
        ),
        f"GET {USERS}: query parameter tenant is required",
    ),
    (
        "a removed property of a request",
        lambda new: schema(new, "CreateUserRequest")["properties"].pop("full_name"),
        f"POST {USERS}: application/json body.full_name is no longer accepted",
    ),
    (
        "a property that becomes required",
        lambda new: schema(new, "CreateUserRequest")["required"].append("full_name"),
        f"POST {USERS}: application/json body.full_name is required",
    ),
    (
        "a lost type of a request",
        lambda new: schema(new, "CreateUserRequest")["properties"]["full_name"].update(type="string"),
        f"POST {USERS}: application/json body.full_name no longer accepts null",
    ),
    (
        "a lower maximum",
        lambda new: schema(new, "CreateUserRequest")["properties"]["full_name"].update(maxLength=100),
        f"POST {USERS}: application/json body.full_name has the stricter maxLength 100",
    ),
    (
        "a higher minimum",
        lambda new: schema(new, "CreateUserRequest")["properties"]["full_name"].update(minLength=2),
        f"POST {USERS}: application/json body.full_name has the stricter minLength 2",
    ),
    (
        "a new limit",
        lambda new: schema(new, "CreateUserRequest").update(maxProperties=3),
        f"POST {USERS}: application/json body has the stricter maxProperties 3",
    ),
    (
        "a removed value of an enumeration in an array",
        lambda new: schema(new, "Scope")["enum"].remove("users:read"),
        'POST /api/v1/api-keys: application/json body.scopes[] no longer accepts "users:read"',
    ),
    (
        "a removed media type",
        lambda new: operation(new, "patch", f"{USERS}/{{user_id}}")["requestBody"]["content"].pop("application/json"),
        f"PATCH {USERS}/{{user_id}}: application/json body is no longer accepted",
    ),
    (
        "another status of success",
        lambda new: operation(new)["responses"].update({"200": operation(new)["responses"].pop("201")}),
        f"POST {USERS}: 201 is no longer returned",
    ),
    (
        "a removed header of a response",
        lambda new: operation(new)["responses"]["201"]["headers"].pop("Location"),
        f"POST {USERS}: 201 header Location is no longer returned",
    ),
    (
        "a removed property of a response",
        lambda new: schema(new, "UserResponse")["properties"].pop("full_name"),
        f"GET {USERS}: 200 application/json body.items[].full_name is no longer returned",
    ),
    (
        "a property of a response that can be absent",
        lambda new: schema(new, "UserResponse")["required"].remove("full_name"),
        f"GET {USERS}: 200 application/json body.items[].full_name can be absent",
    ),
    (
        "a new type of a response",
        lambda new: schema(new, "UserResponse")["properties"]["email"].update(type=["string", "null"]),
        f"GET {USERS}: 200 application/json body.items[].email can be null",
    ),
    (
        "a new variant of a response",
        lambda new: schema(new, "UserResponse")["properties"].update(email={"anyOf": [{"type": "null"}]}),
        f"GET {USERS}: 200 application/json body.items[].email can be null",
    ),
    (
        "a new value of an enumeration in a response",
        lambda new: schema(new, "PostStatus")["enum"].append("hidden"),
        'GET /api/v1/posts: 200 application/json body.items[].status can be "hidden"',
    ),
]
COMPATIBLE: list[tuple[str, Change]] = [
    ("a new operation", lambda new: new["paths"].update({"/new": {"get": {"responses": {}}}})),
    (
        "a new optional property",
        lambda new: schema(new, "CreateUserRequest")["properties"].update(age={"type": "integer"}),
    ),
    (
        "a new optional object with a required property",
        lambda new: schema(new, "CreateUserRequest")["properties"].update(
            address={"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
        ),
    ),
    ("a property that becomes optional", lambda new: schema(new, "CreateUserRequest")["required"].clear()),
    (
        "a new property of a response",
        lambda new: schema(new, "UserResponse")["properties"].update(age={"type": "integer"}),
    ),
    ("a higher maximum", lambda new: schema(new, "CreateUserRequest")["properties"]["email"].update(maxLength=1000)),
    ("other texts", lambda new: operation(new).update(summary="Other", description="Other")),
    ("a removed error", lambda new: operation(new)["responses"].pop("409")),
    (
        "a schema that contains itself",
        lambda new: schema(new, "UserResponse")["properties"].update(
            friend={"$ref": "#/components/schemas/UserResponse"}
        ),
    ),
]


@pytest.mark.parametrize(("change", "expected"), [row[1:] for row in BREAKING], ids=[row[0] for row in BREAKING])
def test_breaking_change_is_reported(change: Change, expected: str) -> None:
    assert expected in compare(change)


@pytest.mark.parametrize("change", [row[1] for row in COMPATIBLE], ids=[row[0] for row in COMPATIBLE])
def test_compatible_change_is_not_reported(change: Change) -> None:
    assert compare(change) == []


def test_each_operation_of_the_document_is_compared() -> None:
    names = {
        f"{method.upper()} {path}" for path, item in DOCUMENT["paths"].items() for method in METHODS if method in item
    }
    removed = set(breaking_changes(DOCUMENT, DOCUMENT | {"paths": {}}))
    assert removed == {f"{name} was removed" for name in names}
    assert len(removed) > 20
