"""The corpus is large, and the walk over the document goes blind nowhere."""

import json
from typing import Any

import pytest
from fastapi.routing import APIRoute

from adapters.http import api_keys, health, posts, users
from tests.hostile.corpus import CORPUS, FRAGMENTS, OCTETS, Hostile
from tests.hostile.places import HEADERS, operations, places, resolved
from tests.hostile.test_hostile import DOCUMENT, OPERATIONS
from tests.hostile.texts import TEXTS

PLANTED: dict[str, Any] = {
    "paths": {
        "/things/{thing_id}": {
            "parameters": [{"name": "thing_id", "in": "path", "required": True, "schema": {"type": "string"}}],
            "put": {
                "operationId": "put_thing",
                "parameters": [{"$ref": "#/components/parameters/Shade"}],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
            },
        }
    },
    "components": {
        "parameters": {"Shade": {"name": "shade", "in": "query", "schema": {"type": "string"}}},
        "schemas": {"Thing": {"allOf": [{"$ref": "#/components/schemas/Base"}, {"properties": {"own": {}}}]}},
    },
}
PLANTED["components"]["schemas"]["Base"] = {"properties": {"inherited": {}}}


def test_there_are_at_least_200_values_and_none_twice() -> None:
    assert len(CORPUS) >= 200
    assert len({(value.octets, value.fragment) for value in CORPUS}) == len(CORPUS)
    assert all(group for groups in (TEXTS, FRAGMENTS, OCTETS) for group in groups.values())


def test_every_operation_that_is_served_is_hit() -> None:
    routes = [*users.router.routes, *posts.router.routes, *api_keys.router.routes, *health.router.routes]
    served = {route.name for route in routes if isinstance(route, APIRoute) and route.include_in_schema}
    assert served <= OPERATIONS.keys()
    assert len(OPERATIONS) == json.dumps(DOCUMENT).count('"operationId": ') - _links()


def _links() -> int:
    """Return how many operations are named by links, not defined."""
    answers = [
        answer for path in DOCUMENT["paths"].values() for one in path.values() for answer in one["responses"].values()
    ]
    return sum(len(answer.get("links", {})) for answer in answers)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_every_parameter_and_field_is_a_place(operation: object) -> None:
    (found,) = [one for one in OPERATIONS.values() if one is operation]
    documented = DOCUMENT["paths"][found.path][found.method.lower()]
    reached = {(place.kind, place.name) for place in places(found)}
    for parameter in documented.get("parameters", []):
        node = resolved(DOCUMENT, parameter)
        assert (node["in"], node["name"]) in reached
    for body in documented.get("requestBody", {}).get("content", {}).values():
        schema = resolved(DOCUMENT, body["schema"])
        assert schema["properties"]
        assert {("field", name) for name in schema["properties"]} <= reached
        assert {("body", ""), ("name of a field", "")} <= reached
    assert {name for kind, name in reached if kind == "header"} >= set(HEADERS)
    assert "{" not in next(places(found)).request(CORPUS[0], {}).path


def test_a_new_operation_is_found_by_itself() -> None:
    (operation,) = operations(PLANTED)
    found = {(place.kind, place.name) for place in places(operation)}
    assert {("path", "thing_id"), ("query", "shade"), ("field", "own"), ("field", "inherited")} <= found


def test_a_value_gets_where_it_should() -> None:
    value = Hostile(b"a b\xff", b"1e999", b'"a"')
    operation = OPERATIONS["create_post"]
    requests = {(place.kind, place.name): place.request(value, {}) for place in places(operation)}
    assert b'"title": 1e999' in requests["field", "title"].body
    assert b'"a": 1' in requests["name of a field", ""].body
    assert requests["body", ""].body == b"1e999"
    assert requests["name of a query parameter", ""].query == b"a%20b%FF=1"
    assert (b"accept", b"a b\xff") in requests["header", "Accept"].headers
