"""Tests for each operation with malicious input at each injection point."""

import json
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import get_args

import httpx
import pytest

from tests.http.openapi_document import DOCUMENT
from tests.malicious_input.corpus import CORPUS, Payload
from tests.malicious_input.injection_points import (
    InjectionPoint,
    Kind,
    Operation,
    Request,
    injection_points,
    operations,
)
from tests.malicious_input.response_checks import check_accepted, check_answer
from tests.malicious_input.target import Target, target
from tests.support.database_fixture import DatabaseFixture, with_empty_tables

VOCABULARY = json.dumps(DOCUMENT)
OPERATIONS = {operation.id: operation for operation in operations()}
DRIVERS = {"asyncpg": 3, "psycopg": 20}
"""For each driver, the step through the values: `--hostile=full` sends all values to all injection points."""
FULL = "full"
UNCOUNTED = {"audit_entries", "erasure_receipts", "idempotency_records"}
_ALLOWED_CHANGES = {"POST": [[1]], "PATCH": [[], [2]], "DELETE": [[1], [1, 1], [2]]}
"""Added and removed rows after an accepted request, by method; an updated row counts twice."""


def shares() -> dict[str, list[tuple[InjectionPoint, tuple[Payload, ...]]]]:
    """Return the injection points of each operation with their values.

    Injection points of one kind and name share the values: each `title` gets other values, together all of them.
    """
    found = [place for operation in OPERATIONS.values() for place in injection_points(operation)]
    counts = Counter((place.kind, place.name) for place in found)
    numbers: Counter[tuple[str, str]] = Counter()
    result: dict[str, list[tuple[InjectionPoint, tuple[Payload, ...]]]] = {id_: [] for id_ in OPERATIONS}
    for place in found:
        name = (place.kind, place.name)
        result[place.operation.id].append((place, CORPUS[numbers[name] :: counts[name]]))
        numbers[name] += 1
    return result


SHARES = shares()


def test_injection_point_inserts_the_value() -> None:
    value = Payload(b"a b\xff", b"1e999", b'"a"')
    points = injection_points(OPERATIONS["create_post"])
    requests = {(place.kind, place.name): place.request(value, {}) for place in points}
    assert b'"title": 1e999' in requests["field", "title"].body
    assert b'"a": 1' in requests["name of a field", ""].body
    assert requests["body", ""].body == b"1e999"
    assert requests["name of a query parameter", ""].query == b"a%20b%FF=1"
    assert (b"accept", b"a b\xff") in requests["header", "Accept"].headers


@pytest.fixture(params=DRIVERS)
async def aim(
    request: pytest.FixtureRequest, stores: Mapping[str, DatabaseFixture]
) -> AsyncIterator[tuple[Target, int]]:
    """The application over each driver, and the step through the values."""
    async with with_empty_tables(stores[request.param]) as store, target(store) as found:
        yield found, DRIVERS[request.param]


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_malicious_input_is_rejected_or_stored_exactly(
    aim: tuple[Target, int], operation: Operation, pytestconfig: pytest.Config
) -> None:
    hit, step = aim
    is_full = pytestconfig.getoption("--hostile") == FULL
    for number, (place, share) in enumerate(SHARES[operation.id]):
        for value in CORPUS if is_full else share[number % step :: step]:
            await throw(hit, place, value)
        assert not hit.changes(), f"{place}: rows were changed"
    alive = Request(method="GET", path=f"/api/v1/users/{hit.sound['user_id']}")
    assert (await hit.send(alive)).status_code == 200, "the service fails afterwards"


def test_values_are_shared_by_similar_injection_points() -> None:
    sent: dict[tuple[str, str], list[Payload]] = {}
    for share in SHARES.values():
        for place, values in share:
            sent.setdefault((place.kind, place.name), []).extend(values)
    assert {kind for kind, _ in sent} == set(get_args(Kind))
    assert {("field", "title"), ("path", "post_id"), ("query", "q"), ("header", "If-Match")} <= sent.keys()
    assert len(CORPUS) >= 200
    assert all(len(values) == len(set(values)) == len(CORPUS) for values in sent.values())


async def throw(hit: Target, place: InjectionPoint, value: Payload) -> None:
    """Send the value, check the response, and restore the rows after an accepted write."""
    request = place.request(value, hit.sound)
    response = await hit.send(request, with_key=place.name not in {"Authorization", "X-API-Key"})
    try:
        check_answer(place, value, response, VOCABULARY)
        if response.status_code < 300 and request.method in _ALLOWED_CHANGES:
            await _check_done(hit, place, value, request, response)
    except AssertionError as error:
        raise AssertionError(
            f"{place}: {value!r} got {response.status_code} {response.content[:300]!r}: {error}"
        ) from error
    if response.status_code < 300 and request.method in _ALLOWED_CHANGES:
        hit.restore()


async def _check_done(
    hit: Target, place: InjectionPoint, value: Payload, request: Request, response: httpx.Response
) -> None:
    """Check that the request changed one entity, and that GET returns the response."""
    changes = [number for table, number in hit.changes().items() if table not in UNCOUNTED]
    assert changes in _ALLOWED_CHANGES[request.method]
    if response.status_code == 204:
        return
    entity = json.loads(response.content)
    if place.kind == "field":
        check_accepted(place, value, entity)
    path = response.headers.get("location", request.path)
    again = await hit.send(Request(method="GET", path=path))
    assert again.status_code == 200
    stored = json.loads(again.content)
    assert stored == {name: entity[name] for name in stored}
