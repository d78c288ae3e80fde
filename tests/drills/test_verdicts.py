"""What drills conclude, from attempts that show the one and the other."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from tests.drills import frozen_database, overload, steady_load
from tests.drills.drill import Mark
from tests.drills.exchange import ACKNOWLEDGED, MISTAKEN, REFUSED, UNKNOWN, UNSENT
from tests.drills.jobs import Attempt
from tests.drills.verdicts import Faults, answered, fast, right, succeeded

SHED = {"retry-after": "1", "content-type": "application/problem+json"}


def _attempt(due: float = 0.0, took: float = 0.01, outcome: str = ACKNOWLEDGED, status: int = 200) -> Attempt:
    body = '{"type": "/problems/overloaded"}'
    headers: Mapping[str, str] = SHED if outcome == REFUSED else {}
    return Attempt(
        operation="drill 1",
        number=1,
        due=due,
        sent=due,
        done=due + took,
        outcome=outcome,
        status=status,
        headers=headers,
        body=body,
        is_last=True,
    )


GOOD = _attempt()
BUSY = _attempt(outcome=REFUSED, status=503)
SILENT = _attempt(outcome=UNKNOWN, status=0)


@pytest.mark.parametrize(
    ("attempts", "passes", "figure"),
    [
        ([GOOD], True, "0 failed and 0 unknown of 1"),
        ([GOOD, SILENT], True, "0 failed and 1 unknown of 2"),
        ([GOOD, BUSY], False, "1 failed and 0 unknown of 2"),
        ([replace(SILENT, outcome=UNSENT)], False, "1 failed and 0 unknown of 1"),
        ([replace(GOOD, outcome=MISTAKEN)], False, "1 failed and 0 unknown of 1"),
    ],
)
def test_what_is_unknown_has_not_failed(attempts: list[Attempt], passes: bool, figure: str) -> None:
    check = succeeded(attempts)
    assert (check.passed, check.figure) == (passes, figure)


def test_an_answer_that_is_missing_or_another_is_found() -> None:
    assert answered([GOOD, BUSY]).passed
    assert not answered([SILENT]).passed
    assert right([GOOD, BUSY]).passed
    assert not right([replace(GOOD, outcome=MISTAKEN)]).passed


def test_percentiles_are_held_to_a_bound() -> None:
    attempts = [GOOD] * 99 + [_attempt(took=1.0)]
    assert fast("it is answered", attempts, percent=90.0, milliseconds=50.0).passed
    assert not fast("it is answered", attempts, percent=99.0, milliseconds=50.0).passed
    assert not fast("it is answered", [BUSY], percent=90.0, milliseconds=50.0).passed
    assert not fast("it is answered", [], percent=90.0, milliseconds=50.0).passed


def test_faults_are_marked_and_those_that_were_too_long_set_apart() -> None:
    faults = Faults([("short", 11.0, 12.0), ("long", 20.0, 27.0)])
    attempts = [_attempt(10.0), _attempt(11.5), _attempt(19.0, 2.0), _attempt(30.0)]
    assert faults.marks(attempts) == [Mark(label="short", start=1.0, end=2.0), Mark(label="long", start=10.0, end=17.0)]
    assert faults.without(attempts, longer_than=5.0) == [attempts[0], attempts[1], attempts[3]]
    assert faults.longest == 7.0
    with faults.during("now"):
        pass
    assert faults.moments[-1][0] == "now"


def test_a_frozen_database_is_seen_to_cost_too_much_or_to_leave_something() -> None:
    faults = Faults([("frozen", 10.0, 14.0)])
    assert frozen_database._bounded([_attempt(12.0, 2.9)], 3.0).passed
    assert not frozen_database._bounded([_attempt(12.0, 3.1)], 3.0).passed
    during, after = replace(BUSY, due=12.0), replace(BUSY, due=17.0)
    assert frozen_database._back([GOOD, during], faults).passed
    assert not frozen_database._back([GOOD, after], faults).passed


def test_shedding_has_to_say_so_and_to_happen() -> None:
    assert overload._shed([BUSY], [GOOD, BUSY]).passed
    assert not overload._shed([], [GOOD]).passed
    assert not overload._shed([BUSY], [BUSY, replace(BUSY, headers={})]).passed
    assert not overload._shed([BUSY], [BUSY, SILENT]).passed


def test_recovery_is_timed_by_the_last_moment_that_was_not_as_usual() -> None:
    before = [GOOD] * 100
    after = [_attempt(10.0 + number / 20) for number in range(100)]
    assert overload._recovered(before, after, 10.0, 1.0).figure.startswith("after 0.0 s")
    slow = [_attempt(11.1, 1.0)] * 20
    assert overload._recovered(before, [*after, *slow], 10.0, 1.5).passed
    assert not overload._recovered(before, [*after, *slow], 10.0, 1.0).passed
    assert not overload._recovered(before, [*after, replace(BUSY, due=14.0)], 10.0, 2.0).passed


def test_full_speed_counts_what_is_answered_under_overload() -> None:
    answers = [_attempt(number / 100) for number in range(101)]
    assert overload._speed(answers, 100.0, 0.8).passed
    assert not overload._speed(answers, 200.0, 0.8).passed
    assert not overload._rate(answers, 100.0).passed
    assert overload._rate(answers, 20.0).passed


def test_memory_that_grows_is_seen_where_there_was_time_to_warm_up() -> None:
    flat = [(float(second), 100 * 2**20) for second in range(600)]
    growing = [(at, size + int(at) * 2**15) for at, size in flat]
    assert steady_load._memory(flat, 600.0).passed
    assert not steady_load._memory(growing, 600.0).passed
    assert "too short a time" in steady_load._memory(growing[:60], 60.0).figure


def test_a_steady_load_is_the_one_that_was_meant_and_answered_in_time() -> None:
    attempts = [GOOD] * 60
    assert steady_load._rate(attempts, 100.0, 1.0, 0.6).passed
    assert not steady_load._rate(attempts, 200.0, 1.0, 0.6).passed
    assert steady_load._latency(attempts, 100.0).passed
    assert not steady_load._latency([_attempt(took=0.2)], 100.0).passed
