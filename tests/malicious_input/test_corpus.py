"""Tests for the injected values and the injection points."""

import pytest

from tests.http import test_openapi
from tests.http.test_openapi import DOCUMENT, resolved
from tests.malicious_input.corpus import CORPUS, FRAGMENTS, OCTETS, Payload
from tests.malicious_input.injection_points import HEADERS, Operation, injection_points
from tests.malicious_input.payloads import PAYLOADS
from tests.malicious_input.test_malicious_input import OPERATIONS


def test_corpus_has_200_distinct_values() -> None:
    assert len(CORPUS) >= 200
    assert len({(value.octets, value.fragment) for value in CORPUS}) == len(CORPUS)
    assert all(group for groups in (PAYLOADS, FRAGMENTS, OCTETS) for group in groups.values())


def test_injection_points_cover_all_operations() -> None:
    assert OPERATIONS.keys() == {operation["operationId"] for _, _, operation in test_openapi.operations()}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
def test_injection_points_cover_parameters_and_fields(operation: Operation) -> None:
    documented = DOCUMENT["paths"][operation.path][operation.method.lower()]
    reached = {(place.kind, place.name) for place in injection_points(operation)}
    for parameter in map(resolved, documented.get("parameters", [])):
        assert (parameter["in"], parameter["name"]) in reached
    for body in documented.get("requestBody", {}).get("content", {}).values():
        schema = resolved(body["schema"])
        assert schema["properties"]
        assert {("field", name) for name in schema["properties"]} <= reached
        assert {("body", ""), ("name of a field", "")} <= reached
    assert {name for kind, name in reached if kind == "header"} >= set(HEADERS)
    assert "{" not in next(injection_points(operation)).request(CORPUS[0], {}).path


def test_injection_point_inserts_the_value() -> None:
    value = Payload(b"a b\xff", b"1e999", b'"a"')
    operation = OPERATIONS["create_post"]
    requests = {(place.kind, place.name): place.request(value, {}) for place in injection_points(operation)}
    assert b'"title": 1e999' in requests["field", "title"].body
    assert b'"a": 1' in requests["name of a field", ""].body
    assert requests["body", ""].body == b"1e999"
    assert requests["name of a query parameter", ""].query == b"a%20b%FF=1"
    assert (b"accept", b"a b\xff") in requests["header", "Accept"].headers
