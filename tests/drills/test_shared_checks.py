"""Tests for checks that drills share."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.drills.load.http_connection import CANCELLED, MISMATCHED, UNSENT
from tests.drills.load.load_job import Attempt
from tests.drills.reconciliation import Reconciliation
from tests.drills.sample_attempts import BUSY, GOOD, SILENT, attempt
from tests.drills.scenario import FaultWindow, Verification, verify
from tests.drills.verifications import (
    FaultTimeline,
    all_acknowledged,
    answered,
    latency_below,
    outcome,
    responses_match_requests,
    stored,
    succeeded,
    window_of_load,
)


def _written(name: str, id_: str) -> Attempt:
    return replace(GOOD, operation=name, headers={"location": f"/{id_}"}, body=json.dumps({"id": id_}))


@pytest.mark.parametrize(
    ("stored", "find"),
    [
        ({}, Reconciliation.lost),
        ({"a": ["1", "2"]}, Reconciliation.duplicates),
        ({"a": ["2"]}, Reconciliation.wrong_ids),
        ({"a": ["1"], "c": ["3"]}, Reconciliation.unexpected_rows),
        ({"a": ["1"]}, Reconciliation.unacknowledged),
    ],
)
def test_ledger_finds_wrong_rows(stored: dict[str, list[str]], find: Callable[..., list[str]]) -> None:
    ledger = Reconciliation.of([_written("a", "1"), replace(SILENT, operation="b")], stored)
    known = {"known": ["z"]} if find is Reconciliation.unexpected_rows else {}
    assert len(find(ledger, **known)) == 1
    right = Reconciliation.of([_written("a", "1")], {"a": ["1"], "z": ["9"]})
    assert find(right, **known) == []


@pytest.mark.parametrize("rows", [{}, {"drill 1": ["1"]}])
def test_ledger_accepts_an_unknown_write_stored_or_not(rows: dict[str, list[str]]) -> None:
    ledger = Reconciliation.of([SILENT], rows)
    assert not [*ledger.lost(), *ledger.duplicates(), *ledger.wrong_ids(), *ledger.unexpected_rows([])]


def test_ledger_check_fails_without_acknowledged_writes() -> None:
    written = _written("drill 1", "1")
    assert all(check.passed for check in stored(Reconciliation.of([written], {"drill 1": ["1"]}), known=[]))
    (lost,) = [check for check in stored(Reconciliation.of([SILENT], {}), known=[]) if not check.passed]
    assert lost.reason == "no request is acknowledged"


def test_check_shows_three_reasons() -> None:
    assert verify("c", "f", ["a", "b", "c", "d", "e"]).reason == "a; b; c; and 2 more"
    assert verify("c", "f", []).passed
    assert verify("c", "f", True).passed
    assert not verify("c", "f", False).passed


@pytest.mark.parametrize(
    ("attempts", "passes", "figure"),
    [
        ([GOOD], True, "0 failed and 0 unknown of 1"),
        ([GOOD, SILENT], True, "0 failed and 1 unknown of 2"),
        ([GOOD, BUSY], False, "1 failed and 0 unknown of 2"),
        ([SILENT], False, "0 failed and 1 unknown of 1"),
        ([], False, "0 failed and 0 unknown of 0"),
        ([replace(SILENT, outcome=UNSENT)], False, "1 failed and 0 unknown of 1"),
        ([replace(GOOD, outcome=MISMATCHED)], False, "1 failed and 0 unknown of 1"),
    ],
)
def test_succeeded_counts_a_missing_response_as_unknown(attempts: list[Attempt], passes: bool, figure: str) -> None:
    check = succeeded(attempts)
    assert (check.passed, check.figure) == (passes, figure)


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (answered, [GOOD, BUSY], [[GOOD, SILENT], []]),
        (responses_match_requests, [GOOD, BUSY], [[replace(GOOD, outcome=MISMATCHED)]]),
        (all_acknowledged, [GOOD], [[GOOD, BUSY], [GOOD, SILENT], []]),
    ],
)
def test_attempt_check_passes_only_for_good_attempts(
    check: Callable[[list[Attempt]], Verification], good: list[Attempt], bad: list[list[Attempt]]
) -> None:
    assert check(good).passed
    assert not [attempts for attempts in bad if check(attempts).passed]


@pytest.mark.parametrize(
    ("attempts", "percent", "passes"),
    [
        ([*[GOOD] * 99, attempt(took=1.0)], 90.0, True),
        ([*[GOOD] * 99, attempt(took=1.0)], 99.0, False),
        ([BUSY], 90.0, False),
        ([], 90.0, False),
    ],
)
def test_fast_compares_a_percentile_with_the_bound(attempts: list[Attempt], percent: float, passes: bool) -> None:
    assert latency_below("it responds", attempts, percent=percent, seconds=0.05).passed == passes


def test_outcome_separates_samples_from_refusals() -> None:
    found = outcome([], [attempt(1.0), replace(BUSY, due=2.0), attempt(3.0, 0.5, CANCELLED, 0)], [])
    assert [due for due, _ in found.samples] == [0.0]
    assert found.refusals == [1.0]
    assert window_of_load([attempt(1.0, 2.0), attempt(1.5)], "all") == FaultWindow(label="all", start=0.0, end=2.0)


def test_faults_split_attempts_by_length_of_the_fault() -> None:
    faults = FaultTimeline([("short", 11.0, 12.0), ("long", 20.0, 27.0)])
    attempts = [attempt(10.0), attempt(11.5), attempt(19.0, 2.0), attempt(30.0)]
    assert faults.marks(attempts) == [
        FaultWindow(label="short", start=1.0, end=2.0),
        FaultWindow(label="long", start=10.0, end=17.0),
    ]
    assert faults.without(attempts, longer_than=5.0) == [attempts[0], attempts[1], attempts[3]]
    assert faults.longest == 7.0
    with faults.during("now"):
        pass
    assert faults.moments[-1][0] == "now"


def test_faults_name_those_that_no_request_met() -> None:
    faults = FaultTimeline([("long", 1.0, 4.0), ("short", 9.0, 9.01)])
    assert faults.faults_without_requests([attempt(0.5, 0.6), attempt(9.9)]) == []
    assert faults.faults_without_requests([attempt(0.5), attempt(10.1)]) == [
        "no request meets long after 0.5 s",
        "no request meets short after 8.5 s",
    ]


def test_faults_subtract_their_time_from_the_latency() -> None:
    faults = FaultTimeline([("a", 10.0, 14.0), ("b", 15.0, 16.0)])
    assert [faults.time_outside_faults(attempt(due, took)) for due, took in ((5.0, 1.0), (12.0, 2.5), (9.0, 8.0))] == [
        1.0,
        0.5,
        3.0,
    ]
