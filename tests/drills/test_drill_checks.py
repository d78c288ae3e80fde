"""Tests for the checks of drills."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from tests.drills import (
    cancelled_requests,
    database_outages,
    erasure,
    exactly_once,
    frozen_database,
    overload,
    rolling_restart,
    service_killed,
    steady_load,
    transaction_conflicts,
)
from tests.drills.canary_search import PageTraces
from tests.drills.canary_users import CanaryUser, requests_after
from tests.drills.faults.disposable_postgres import DisposablePostgres
from tests.drills.faults.http_proxy import FAULTS, HttpProxy
from tests.drills.load.http_connection import CANCELLED, MISMATCHED, REFUSED, UNKNOWN, UNSENT
from tests.drills.load.load_job import Attempt, RequestSpec
from tests.drills.sample_attempts import BUSY, GOOD, SILENT, attempt
from tests.drills.scenario import FaultWindow, ScenarioError, ScenarioSize, Verification, verify
from tests.drills.schema_changes.revision_cycle import RevisionRun
from tests.drills.schema_changes.schema_change_checks import latency_of, schema_checks, warm_up_check
from tests.drills.verifications import (
    FaultTimeline,
    all_acknowledged,
    answered,
    latency_below,
    responses_match_requests,
    succeeded,
    window_of_load,
)

Cases = Sequence[tuple[Any, ...]]


def _faults(*times: tuple[float, float]) -> FaultTimeline:
    return FaultTimeline([FaultWindow("fault", start, end) for start, end in times])


def _proxy(*cuts: str) -> HttpProxy:
    return HttpProxy(seed="", server_port=0, cuts=Counter(cuts))


def _move(start: float, end: float, unfinished: Sequence[str] = ()) -> RevisionRun:
    return RevisionRun("a", "a column", "up", FaultWindow("", start, end), unfinished)


MISMATCH = replace(GOOD, outcome=MISMATCHED)
SLOW = [*[GOOD] * 99, attempt(took=1.0)]
OUTAGES, SIZE = _faults((10.0, 14.0), (15.0, 16.0)), ScenarioSize(times=2, seconds=5.0)
LONG_ENOUGH = _faults((1.0, 1.5), (10.0, 14.5))
STEADY = [attempt(number / 10) for number in range(300)]
GONE, ROW = attempt(outcome=CANCELLED, status=0), {"drill 1": ["1"]}
ROLLED = _faults((1.0, 3.0), (4.0, 6.0))
KILLED, KILLS = [attempt(due, 1.0, UNKNOWN, 0) for due in (10.0, 20.0)], [10.5, 20.5, 30.5, 40.5]
FROZEN, TWICE_FROZEN = _faults((10.0, 14.0)), _faults((10.0, 14.0), (20.0, 24.0))
DURING = attempt(12.0, 2.0, REFUSED, 503)
BETWEEN, MET, AFTER_ALL = attempt(17.0), attempt(19.5, 2.0, REFUSED, 503), attempt(27.0)
RESPONSES = [attempt(number / 100) for number in range(101)]
BEFORE, AFTER = [GOOD] * 100, [attempt(10.0 + number / 20) for number in range(100)]
SLOW_AFTER = [*AFTER, *[attempt(11.1, 1.0)] * 20]
FLAT = [(float(second), 100 * 2**20) for second in range(600)]
GROWING = [(at, size + int(at) * 2**15) for at, size in FLAT]
READS = [replace(GOOD, kind="GET /api/v1/users/")] * 3
OTHER = replace(GOOD, kind="GET /api/v1/posts/")
TABLES, PAGES = dict.fromkeys(erasure.CANARY_TABLES, 1), PageTraces(erasure.CANARY_INDEXES)
INVALID = attempt(outcome=REFUSED, status=422)
ECHO = replace(INVALID, body='{"type": "a canary"}')
DELETED = replace(attempt(10.0, 2.0, status=204), kind="DELETE /api/v1/users/")
WRITTEN, LATER = attempt(11.0, 2.0, status=201), attempt(12.5, 2.0, status=201)
GONE_AFTER = (RequestSpec(name="a", method="GET", path="/"), 404)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (answered, [([GOOD, BUSY],)], [([GOOD, SILENT],), ([],)]),
        (responses_match_requests, [([GOOD, BUSY],)], [([MISMATCH],)]),
        (all_acknowledged, [([GOOD],)], [([GOOD, BUSY],), ([GOOD, SILENT],), ([],)]),
        (partial(latency_below, "it responds", percent=90.0, seconds=0.05), [(SLOW,)], [([BUSY],), ([],)]),
        (partial(latency_below, "it responds", percent=99.0, seconds=0.05), [], [(SLOW,)]),
        (
            database_outages._slowest,
            [([attempt(12.0, 3.5)], OUTAGES, 2.0)],
            [([attempt(9.0, 8.0)], OUTAGES, 2.0), ([], OUTAGES, 2.0)],
        ),
        (
            database_outages._outages,
            [
                (LONG_ENOUGH, SIZE, STEADY),
                (_faults((10.0, 14.5), (1.0, 7.0)), SIZE, STEADY),
                (_faults((1.0, 7.0), (10.0, 15.5)), replace(SIZE, hang_seconds=20.0), STEADY),
            ],
            [
                (LONG_ENOUGH, SIZE, STEADY[:50]),
                (FaultTimeline(LONG_ENOUGH.windows[1:]), SIZE, STEADY),
                (_faults((1.0, 1.01), (10.0, 10.01)), SIZE, STEADY),
                (_faults((1.0, 7.0), (10.0, 15.5)), SIZE, STEADY),
            ],
        ),
        (transaction_conflicts._conflicts, [(1, 1, 1)], [(0, 1, 1), (1, 0, 1), (1, 1, 0)]),
        (cancelled_requests._hung_up, [([GONE], ROW)], [([GONE], {}), ([GOOD], ROW)]),
        (
            cancelled_requests._ended,
            [(cancelled_requests.POOL_SIZE, 0, 3.0)],
            [(cancelled_requests.POOL_SIZE, 1, 30.0), (cancelled_requests.POOL_SIZE - 1, 0, 3.0)],
        ),
        (
            partial(cancelled_requests._usable, "it is usable"),
            [(cancelled_requests.POOL_SIZE, [BUSY, *[GOOD] * cancelled_requests.POOL_SIZE])],
            [
                (cancelled_requests.POOL_SIZE - 1, [GOOD] * cancelled_requests.POOL_SIZE),
                (cancelled_requests.POOL_SIZE, [BUSY, *[GOOD] * (cancelled_requests.POOL_SIZE - 1)]),
            ],
        ),
        (
            rolling_restart._replaced,
            [(ROLLED, [attempt(2.0), attempt(5.0)], 2)],
            [(ROLLED, [attempt(2.0)], 2), (ROLLED, [attempt(2.0), attempt(5.0)], 3)],
        ),
        (
            service_killed._kills,
            [(KILLED, KILLS, _faults(), 4)],
            [
                (KILLED[:1], KILLS, _faults(), 4),
                ([attempt(10.0, 1.0)], KILLS[:1], _faults(), 1),
                (KILLED, KILLS[:2], _faults(), 4),
            ],
        ),
        (
            exactly_once._faults,
            [("it", _proxy(*FAULTS[1:]), FAULTS, 10), ("it", _proxy(*FAULTS), FAULTS, 10_000)],
            [("it", _proxy(), FAULTS, 10), ("it", _proxy(*FAULTS[1:]), FAULTS, 10_000)],
        ),
        (frozen_database._bounded, [([attempt(12.0, 2.9)], 3.0)], [([attempt(12.0, 3.1)], 3.0)]),
        (frozen_database._met, [([DURING], FROZEN)], [([attempt(12.0, 2.5)], FROZEN), ([DURING], TWICE_FROZEN)]),
        (
            frozen_database._back,
            [([BETWEEN, MET, AFTER_ALL], TWICE_FROZEN)],
            [
                ([MET, AFTER_ALL], TWICE_FROZEN),
                ([BETWEEN, MET], TWICE_FROZEN),
                ([replace(BETWEEN, status=503, outcome=REFUSED), MET, AFTER_ALL], TWICE_FROZEN),
                ([BETWEEN, AFTER_ALL], _faults()),
            ],
        ),
        (
            overload._shed,
            [([BUSY], [GOOD, BUSY])],
            [([], [GOOD]), ([BUSY], [BUSY, replace(BUSY, headers={})]), ([BUSY], [BUSY, SILENT])],
        ),
        (
            overload._recovered,
            [(BEFORE, AFTER, 10.0, 2.0), (BEFORE, SLOW_AFTER, 10.0, 1.5)],
            [
                (BEFORE, SLOW_AFTER, 10.0, 1.0),
                (BEFORE, [*AFTER, replace(BUSY, due=14.0)], 10.0, 2.0),
                (BEFORE, [], 10.0, 2.0),
                (BEFORE, AFTER[:40], 10.0, 2.0),
                ([], AFTER, 10.0, 2.0),
                ([*BEFORE, BUSY], AFTER, 10.0, 2.0),
            ],
        ),
        (
            erasure._stored,
            [(erasure.Traces(TABLES, PAGES, [b"sealed"]),)],
            [
                (erasure.Traces({}, PAGES, [b"sealed"]),),
                (erasure.Traces(TABLES, PageTraces(), [b"sealed"]),),
                (erasure.Traces(TABLES, PAGES, []),),
            ],
        ),
        (
            erasure._rejected,
            [({"a": INVALID}, "canary")],
            [({"a": GOOD}, "canary"), ({"a": BUSY}, "canary"), ({"a": ECHO}, "canary"), ({}, "canary")],
        ),
        (
            erasure._erased,
            [({"a": DELETED, "b": WRITTEN}, 1), ({"a": DELETED, "b": replace(WRITTEN, status=404)}, 1)],
            [
                ({"a": DELETED, "b": LATER}, 1),
                ({"a": DELETED, "b": WRITTEN}, 2),
                ({"a": replace(DELETED, status=409), "b": WRITTEN}, 1),
                ({"a": DELETED, "b": replace(WRITTEN, status=500)}, 1),
                ({"a": DELETED, "b": replace(WRITTEN, status=0)}, 1),
                ({}, 1),
            ],
        ),
        (
            erasure._answered,
            [({"a": attempt(status=404)}, [GONE_AFTER], "canary")],
            [
                ({"a": GOOD}, [GONE_AFTER], "canary"),
                ({"a": attempt(outcome=MISMATCHED, status=404)}, [GONE_AFTER], "canary"),
                ({"a": replace(ECHO, status=404)}, [GONE_AFTER], "canary"),
                ({}, [], "canary"),
            ],
        ),
        (erasure._tables_clean, [({},)], [({"users": 1},)]),
        (erasure._responses_erased, [([b"sealed"], [])], [([b"sealed"], [b"sealed"]), ([], [b"sealed"])]),
        (erasure._pages_clean, [(PageTraces(unused=1),)], [(PageTraces({"users"}),)]),
        (erasure._files_clean, [([],)], [(["base/1"],)]),
        (erasure._texts_clean, [({"log": "a"}, "canary")], [({"log": "a Canary"}, "canary"), ({"log": ""}, "canary")]),
        (overload._speed, [(RESPONSES, 100.0, 0.8)], [(RESPONSES, 200.0, 0.8)]),
        (overload._rate, [(RESPONSES, 20.0)], [(RESPONSES, 100.0)]),
        (overload._opened, [(overload.POOL_SIZE + 1,)], [(overload.POOL_SIZE,)]),
        (steady_load._memory, [(FLAT, 600.0)], [(GROWING, 600.0)]),
        (steady_load._rate, [([GOOD] * 60, 100.0, 1.0, 0.6)], [([GOOD] * 60, 1000.0, 1.0, 0.6)]),
        (steady_load._latency, [([GOOD] * 60, 0.1)], [([attempt(took=0.2)], 0.1)]),
        (
            warm_up_check,
            [(READS[:2], READS[2:], 2, 0)],
            [(READS[:2], [OTHER], 2, 0), ([*READS[:2], OTHER], [OTHER], 2, 0), ([*READS[:2], BUSY], READS[:1], 2, 0)],
        ),
        (
            latency_of,
            [([attempt(11.0)], [_move(10.0, 12.0)], 0.5, 300.0), ([attempt(9.8)], [_move(10.0, 10.01)], 0.5, 300.0)],
            [
                ([attempt(9.8)], [_move(10.0, 12.0)], 0.5, 300.0),
                ([attempt(9.0)], [_move(10.0, 10.01)], 0.5, 300.0),
                ([attempt(11.0, 0.4)], [_move(10.0, 12.0)], 0.5, 300.0),
            ],
        ),
    ],
)
def test_check_passes_only_for_good_observations(check: Callable[..., Verification], good: Cases, bad: Cases) -> None:
    assert [check(*observations).passed for observations in good] == [True] * len(good)
    assert [check(*observations).passed for observations in bad] == [False] * len(bad)


@pytest.mark.parametrize(
    ("before", "after", "unfinished", "passed"),
    [
        (["a"], ["a"], [], [True, True]),
        (["a"], ["a"], ["left"], [False, True]),
        (["a"], [], [], [True, False]),
        ([], ["b"], [], [True, False]),
    ],
)
def test_schema_checks_find_unfinished_work_and_differences(
    before: list[str], after: list[str], unfinished: list[str], passed: list[bool]
) -> None:
    assert [check.passed for check in schema_checks(before, after, [_move(1.0, 2.0, unfinished)])] == passed


def test_check_figure_mentions_skipped_observations() -> None:
    skipping = database_outages._outages(_faults((10.0, 14.5), (1.0, 7.0)), SIZE, STEADY)
    assert "1 took too long" in skipping.figure
    assert "too short a time" in steady_load._memory(GROWING[:60], 60.0).figure


def test_outage_of_backends_fails_without_a_session() -> None:
    class Deserted(DisposablePostgres):
        def __init__(self) -> None:
            pass

        def terminate_backends(self) -> int:
            return 0

    with pytest.raises(ScenarioError, match="no session"):
        database_outages._terminate_backends(Deserted())


@pytest.mark.parametrize("size", [frozen_database.FROZEN_DATABASE.full, frozen_database.FROZEN_DATABASE.quick])
def test_request_that_waits_for_the_thaw_is_too_slow(size: ScenarioSize) -> None:
    frozen = [attempt(10.0, 0.7 * size.seconds, REFUSED, 503)]
    assert not frozen_database._bounded(frozen, frozen_database._max_cost(size)).passed


def test_erased_user_repeats_each_creation() -> None:
    creations = [replace(GONE_AFTER[0], method="POST", path=f"/api/v1/{name}") for name in ("users", "posts")]
    user = CanaryUser(number=0, id="a", email="a@example.org", creations=creations, post_ids=[], api_key="key")
    assert [expected for expected in requests_after("canary", [user]) if expected[0].method == "POST"] == [
        (creations[0], 410),
        (creations[1], 410),
    ]


def test_check_shows_three_reasons() -> None:
    assert verify("c", "f", ["a", "b", "c", "d", "e"]).reason == "a; b; c; and 2 more"
    assert verify("c", "f", []).passed
    assert [verify("c", "f", holds).passed for holds in (True, False)] == [True, False]


@pytest.mark.parametrize(
    ("attempts", "passes", "figure"),
    [
        ([GOOD], True, "0 failed and 0 unknown of 1"),
        ([GOOD, SILENT], True, "0 failed and 1 unknown of 2"),
        ([GOOD, BUSY], False, "1 failed and 0 unknown of 2"),
        ([SILENT], False, "0 failed and 1 unknown of 1"),
        ([], False, "0 failed and 0 unknown of 0"),
        ([replace(SILENT, outcome=UNSENT)], False, "1 failed and 0 unknown of 1"),
        ([MISMATCH], False, "1 failed and 0 unknown of 1"),
    ],
)
def test_succeeded_counts_a_missing_response_as_unknown(attempts: list[Attempt], passes: bool, figure: str) -> None:
    check = succeeded(attempts)
    assert (check.passed, check.figure) == (passes, figure)


def test_faults_split_attempts_by_length_of_the_fault() -> None:
    faults = _faults((11.0, 12.0), (20.0, 27.0))
    attempts = [attempt(10.0), attempt(11.5), attempt(19.0, 2.0), attempt(30.0)]
    assert faults.without(attempts, longer_than=5.0) == [attempts[0], attempts[1], attempts[3]]
    assert faults.longest == 7.0
    with faults.during("now"):
        pass
    assert faults.windows[-1].label == "now"
    assert window_of_load([attempt(1.0, 2.0), attempt(1.5)], "all") == FaultWindow("all", 1.0, 3.0)


def test_faults_name_those_that_no_request_met() -> None:
    faults = _faults((1.0, 4.0), (9.0, 9.01))
    assert faults.fault_errors([attempt(0.5, 0.6), attempt(9.9)], 2) == []
    assert faults.fault_errors([attempt(0.5), attempt(10.1)], 3) == [
        "no request meets fault after 0.5 s",
        "no request meets fault after 8.5 s",
        "expected 3 times",
    ]


def test_faults_subtract_their_time_from_the_latency() -> None:
    met = [attempt(5.0, 1.0), attempt(12.0, 2.5), attempt(9.0, 8.0)]
    assert [OUTAGES.time_outside_faults(one) for one in met] == [1.0, 0.5, 3.0]
