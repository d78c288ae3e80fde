"""Every hostile value in every place of every operation: refused without a trace, or stored as it should be."""

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.hostile.corpus import CORPUS, Hostile
from tests.hostile.places import Operation, Place, Request, operations, places
from tests.hostile.target import Target, target
from tests.hostile.verdict import check_accepted, check_answer
from tests.http.support import RawResponse
from tests.support.stores import Store, cleared

DOCUMENT: dict[str, Any] = json.loads((Path(__file__).parents[2] / "openapi.json").read_text())
VOCABULARY = json.dumps(DOCUMENT)
OPERATIONS = {operation.id: operation for operation in operations(DOCUMENT)}
SHARE = {"asyncpg": 1, "psycopg": 17}
"""Each driver gets every value, or every so manieth of each place."""
FULL = "full"
_ALLOWED_CHANGES = {"POST": [[1]], "PATCH": [[], [2]], "DELETE": [[1], [1, 1], [2]]}
"""Rows that come and go when a request is accepted: one comes, is changed, or goes with what is its own."""


@pytest.fixture(params=SHARE)
async def aim(request: pytest.FixtureRequest, stores: Mapping[str, Store]) -> AsyncIterator[tuple[Target, int]]:
    """A target over each driver, and which share of the values it gets."""
    share = 1 if request.config.getoption("--hostile") == FULL else SHARE[request.param]
    async with cleared(stores[request.param]) as store, target(store) as found:
        yield found, share


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS.keys())
async def test_nothing_hostile_fails_or_comes_back_or_stays(
    aim: tuple[Target, int], operation: Operation, pytestconfig: pytest.Config
) -> None:
    hit, share = aim
    is_full = pytestconfig.getoption("--hostile") == FULL
    index = [*OPERATIONS].index(operation.id)
    for number, place in enumerate(places(operation)):
        # What no operation documents gets a share in each, which is another in each: together they are all.
        is_sampled = not is_full and not place.is_documented
        start, step = (index, max(share, len(OPERATIONS))) if is_sampled else (number % share, share)
        for value in CORPUS[start::step]:
            await throw(hit, place, value)
        assert not hit.changes(), f"{place}: something stayed"
        alive = Request(method="GET", path=f"/api/v1/users/{hit.sound['user_id']}")
        assert (await hit.send(alive)).status == 200, f"{place}: the service is not what it was"


async def throw(hit: Target, place: Place, value: Hostile) -> None:
    """Send the value in the place, judge the answer, and undo what was done when it was accepted."""
    request = place.request(value, hit.sound)
    answer = await hit.send(request, with_key=place.name not in {"Authorization", "X-API-Key"})
    try:
        check_answer(place, value, answer, VOCABULARY)
        if answer.status < 300 and request.method in _ALLOWED_CHANGES:
            await _check_done(hit, place, value, request, answer)
    except AssertionError as error:
        raise AssertionError(
            f"{place}: {value!r} was answered {answer.status} {answer.body[:300]!r}: {error}"
        ) from error
    if answer.status < 300 and request.method in _ALLOWED_CHANGES:
        hit.restore()


async def _check_done(hit: Target, place: Place, value: Hostile, request: Request, answer: RawResponse) -> None:
    """Check that one thing was made, changed or removed, beside the outcome that is kept of it, and how."""
    changes = [number for table, number in hit.changes().items() if table != "outcomes"]
    assert changes in _ALLOWED_CHANGES[request.method]
    if answer.status == 204:
        return
    entity = json.loads(answer.body)
    if place.kind == "field":
        check_accepted(place, value, entity)
    path = answer.headers.get("location", request.path)
    again = await hit.send(Request(method="GET", path=path))
    assert again.status == 200
    stored = json.loads(again.body)
    assert stored == {name: entity[name] for name in stored}
