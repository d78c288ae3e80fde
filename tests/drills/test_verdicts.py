"""What several drills conclude, from attempts that show the one and the other."""

from dataclasses import replace

import pytest

from tests.drills.attempts import BUSY, GOOD, SILENT, attempt
from tests.drills.drill import Mark
from tests.drills.ledger import Ledger
from tests.drills.load.exchange import MISTAKEN, UNSENT
from tests.drills.load.jobs import Attempt
from tests.drills.verdicts import Faults, answered, fast, right, stored, succeeded


@pytest.mark.parametrize(
    ("attempts", "passes", "figure"),
    [
        ([GOOD], True, "0 failed and 0 unknown of 1"),
        ([GOOD, SILENT], True, "0 failed and 1 unknown of 2"),
        ([GOOD, BUSY], False, "1 failed and 0 unknown of 2"),
        ([SILENT], False, "0 failed and 1 unknown of 1"),
        ([], False, "0 failed and 0 unknown of 0"),
        ([replace(SILENT, outcome=UNSENT)], False, "1 failed and 0 unknown of 1"),
        ([replace(GOOD, outcome=MISTAKEN)], False, "1 failed and 0 unknown of 1"),
    ],
)
def test_what_is_unknown_has_not_failed(attempts: list[Attempt], passes: bool, figure: str) -> None:
    check = succeeded(attempts)
    assert (check.passed, check.figure) == (passes, figure)


def test_an_answer_that_is_missing_or_another_is_found() -> None:
    assert answered([GOOD, BUSY]).passed
    assert not answered([GOOD, SILENT]).passed
    assert not answered([]).passed
    assert right([GOOD, BUSY]).passed
    assert not right([replace(GOOD, outcome=MISTAKEN)]).passed


def test_percentiles_are_held_to_a_bound() -> None:
    attempts = [GOOD] * 99 + [attempt(took=1.0)]
    assert fast("it is answered", attempts, percent=90.0, milliseconds=50.0).passed
    assert not fast("it is answered", attempts, percent=99.0, milliseconds=50.0).passed
    assert not fast("it is answered", [BUSY], percent=90.0, milliseconds=50.0).passed
    assert not fast("it is answered", [], percent=90.0, milliseconds=50.0).passed


def test_faults_are_marked_and_those_that_were_too_long_set_apart() -> None:
    faults = Faults([("short", 11.0, 12.0), ("long", 20.0, 27.0)])
    attempts = [attempt(10.0), attempt(11.5), attempt(19.0, 2.0), attempt(30.0)]
    assert faults.marks(attempts) == [Mark(label="short", start=1.0, end=2.0), Mark(label="long", start=10.0, end=17.0)]
    assert faults.without(attempts, longer_than=5.0) == [attempts[0], attempts[1], attempts[3]]
    assert faults.longest == 7.0
    with faults.during("now"):
        pass
    assert faults.moments[-1][0] == "now"


def test_a_ledger_in_which_nothing_is_acknowledged_shows_nothing() -> None:
    written = replace(GOOD, body='{"id": "1"}', headers={"location": "/1"})
    assert all(check.passed for check in stored(Ledger.of([written], {"drill 1": ["1"]}), known=[]))
    (lost,) = [check for check in stored(Ledger.of([SILENT], {}), known=[]) if not check.passed]
    assert lost.reason == "nothing is acknowledged"


def test_a_fault_that_no_request_meets_is_named_and_a_short_one_has_a_second() -> None:
    faults = Faults([("long", 1.0, 4.0), ("short", 9.0, 9.01)])
    assert faults.unmet([attempt(0.5, 0.6), attempt(9.9)]) == []
    assert faults.unmet([attempt(0.5), attempt(10.1)]) == [
        "no request meets long after 0.5 s",
        "no request meets short after 8.5 s",
    ]
