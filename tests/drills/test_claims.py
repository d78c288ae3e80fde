"""What single drills conclude, from attempts that show the one and the other."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from tests.drills import (
    cancelled,
    conflicts,
    exactly_once,
    frozen_database,
    outages,
    overload,
    rolling_restart,
    service_killed,
    steady_load,
)
from tests.drills.attempts import BUSY, GOOD, SILENT, attempt
from tests.drills.drill import DrillError, Size
from tests.drills.faults.http_proxy import FAULTS, HttpProxy
from tests.drills.faults.own_postgres import OwnPostgres
from tests.drills.load.exchange import CANCELLED, REFUSED, UNKNOWN
from tests.drills.load.jobs import Attempt
from tests.drills.load.mixture import Seeds
from tests.drills.migrating import moved
from tests.drills.migrating.changing import Move
from tests.drills.migrating.filled import Filled
from tests.drills.verdicts import Faults


def test_what_a_request_takes_beside_faults_is_what_counts() -> None:
    faults = Faults([("a", 10.0, 14.0), ("b", 15.0, 16.0)])
    assert faults.beyond(attempt(5.0, 1.0)) == 1.0
    assert faults.beyond(attempt(12.0, 2.5)) == 0.5
    assert faults.beyond(attempt(9.0, 8.0)) == 3.0
    assert outages._slowest([attempt(12.0, 3.5)], faults, 2.0).passed
    assert not outages._slowest([attempt(9.0, 8.0)], faults, 2.0).passed
    assert not outages._slowest([], faults, 2.0).passed


def test_outages_have_to_be_as_many_and_as_long_as_meant_and_to_be_met() -> None:
    size = Size(times=2, seconds=5.0)
    meeting = [attempt(number / 10) for number in range(300)]
    long_enough = Faults([("away", 1.0, 1.5), ("away", 10.0, 14.5)])
    assert outages._outages(long_enough, size, meeting).passed
    assert not outages._outages(long_enough, size, meeting[:50]).passed
    assert not outages._outages(Faults(long_enough.moments[1:]), size, meeting).passed
    assert not outages._outages(Faults([("away", 1.0, 1.01), ("away", 10.0, 10.01)]), size, meeting).passed
    too_long = Faults([("away", 1.0, 7.0), ("away", 10.0, 15.5)])
    assert not outages._outages(too_long, size, meeting).passed
    check = outages._outages(Faults([*long_enough.moments[1:], *too_long.moments[:1]]), size, meeting)
    assert check.passed
    assert "1 took longer than was meant" in check.figure


def test_without_a_session_there_is_nothing_to_terminate() -> None:
    class Deserted(OwnPostgres):
        def __init__(self) -> None:
            pass

        def terminate_backends(self) -> int:
            return 0

    with pytest.raises(DrillError, match="no session"):
        outages._terminated(Deserted(), 0.0)


def test_conflicts_are_of_each_kind() -> None:
    found = conflicts.Conflicts(injected_failures=1, injected_deadlocks=1, real_failures=1, real_deadlocks=1)
    assert conflicts._conflicts(found).passed
    for name in ("injected_failures", "injected_deadlocks", "real_failures", "real_deadlocks"):
        assert not conflicts._conflicts(replace(found, **{name: 0})).passed


def test_clients_that_hang_up_leave_work_and_the_work_is_ended() -> None:
    gone = attempt(outcome=CANCELLED, status=0)
    assert cancelled._hung_up([gone], {"drill 1": ["1"]}).passed
    assert not cancelled._hung_up([gone], {}).passed
    assert not cancelled._hung_up([GOOD], {"drill 1": ["1"]}).passed
    assert cancelled._ended(cancelled.POOL_SIZE, 0, 3.0).passed
    assert not cancelled._ended(cancelled.POOL_SIZE, 1, 30.0).passed
    assert not cancelled._ended(cancelled.POOL_SIZE - 1, 0, 3.0).passed


def test_workers_are_replaced_so_often_while_there_are_requests() -> None:
    faults = Faults([("rolled", 1.0, 3.0), ("rolled", 4.0, 6.0)])
    assert rolling_restart._replaced(faults, [attempt(2.0), attempt(5.0)], 2).passed
    assert not rolling_restart._replaced(faults, [attempt(2.0)], 2).passed
    assert not rolling_restart._replaced(faults, [attempt(2.0), attempt(5.0)], 3).passed


def test_half_of_the_kills_have_to_meet_requests() -> None:
    unknown = [attempt(due, 1.0, UNKNOWN, 0) for due in (10.0, 20.0)]
    assert service_killed._kills(unknown, [10.5, 20.5, 30.5, 40.5], Faults(), 4).passed
    assert not service_killed._kills(unknown[:1], [10.5, 20.5, 30.5, 40.5], Faults(), 4).passed
    assert not service_killed._kills([attempt(10.0, 1.0)], [10.5], Faults(), 1).passed
    assert not service_killed._kills(unknown, [10.5, 20.5], Faults(), 4).passed


def test_many_requests_are_cut_in_every_way() -> None:
    proxy = HttpProxy(seed="", server_port=0)
    assert not exactly_once._faults("it", proxy, FAULTS, 10).passed
    proxy.cuts.update(FAULTS[1:])
    assert exactly_once._faults("it", proxy, FAULTS, 10).passed
    assert not exactly_once._faults("it", proxy, FAULTS, 10_000).passed
    proxy.cuts.update(FAULTS)
    assert exactly_once._faults("it", proxy, FAULTS, 10_000).passed


def test_a_frozen_database_is_seen_to_cost_too_much_or_to_leave_something() -> None:
    faults = Faults([("frozen", 10.0, 14.0)])
    assert frozen_database._bounded([attempt(12.0, 2.9)], 3.0).passed
    assert not frozen_database._bounded([attempt(12.0, 3.1)], 3.0).passed
    during = attempt(12.0, 2.0, REFUSED, 503)
    assert frozen_database._met([during], faults).passed
    assert not frozen_database._met([attempt(12.0, 2.5)], faults).passed
    assert not frozen_database._met([during], Faults([*faults.moments, ("frozen", 20.0, 24.0)])).passed
    after = [attempt(17.0), attempt(27.0)]
    assert frozen_database._back([during, *after], faults).passed
    assert not frozen_database._back([during], faults).passed
    assert not frozen_database._back([during, *after, replace(BUSY, due=17.0, done=17.1)], faults).passed


def test_all_has_to_be_as_usual_after_each_thaw() -> None:
    faults = Faults([("frozen", 10.0, 14.0), ("frozen", 20.0, 24.0)])
    between, met, after = attempt(17.0), attempt(19.5, 2.0, REFUSED, 503), attempt(27.0)
    assert frozen_database._back([between, met, after], faults).passed
    assert not frozen_database._back([met, after], faults).passed
    assert not frozen_database._back([between, met], faults).passed
    assert not frozen_database._back([replace(between, status=503, outcome=REFUSED), met, after], faults).passed
    assert not frozen_database._back([between, after], Faults()).passed


def test_shedding_has_to_say_so_and_to_happen() -> None:
    assert overload._shed([BUSY], [GOOD, BUSY]).passed
    assert not overload._shed([], [GOOD]).passed
    assert not overload._shed([BUSY], [BUSY, replace(BUSY, headers={})]).passed
    assert not overload._shed([BUSY], [BUSY, SILENT]).passed


def test_recovery_is_timed_by_the_last_moment_that_was_not_as_usual() -> None:
    before = [GOOD] * 100
    after = [attempt(10.0 + number / 20) for number in range(100)]
    assert overload._recovered(before, after, 10.0, 1.0).figure.startswith("after 0.0 s")
    slow = [attempt(11.1, 1.0)] * 20
    assert overload._recovered(before, [*after, *slow], 10.0, 1.5).passed
    assert not overload._recovered(before, [*after, *slow], 10.0, 1.0).passed
    assert not overload._recovered(before, [*after, replace(BUSY, due=14.0)], 10.0, 2.0).passed


def test_recovery_takes_requests_before_and_after() -> None:
    before = [GOOD] * 100
    after = [attempt(10.0 + number / 20) for number in range(100)]
    assert overload._recovered(before, after, 10.0, 2.0).passed
    assert not overload._recovered(before, [], 10.0, 2.0).passed
    assert not overload._recovered(before, after[:40], 10.0, 2.0).passed
    assert not overload._recovered([], after, 10.0, 2.0).passed
    assert not overload._recovered([*before, BUSY], after, 10.0, 2.0).passed


def test_full_speed_counts_what_is_answered_under_overload() -> None:
    answers = [attempt(number / 100) for number in range(101)]
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
    assert not steady_load._latency([attempt(took=0.2)], 100.0).passed


def _found(warm: Sequence[Attempt], attempts: Sequence[Attempt], move: Move) -> moved.Found:
    state = moved.State(revisions=["a"], schema=[])
    return moved.Found(
        release="this",
        filled=Filled(posts=1, sample=[], authors=[]),
        seeds=Seeds(authors={}, posts={}),
        warm=warm,
        pause=0.5,
        connections=2,
        outdated=0,
        attempts=attempts,
        moves=[move],
        before=state,
        after=state,
    )


def _named(name: str) -> Attempt:
    return replace(GOOD, operation=name)


MOVE = Move(revision="a", doc="a column", up=True, start=10.0, end=12.0)


def test_statements_are_prepared_by_as_many_requests_of_each_kind_as_there_are_connections() -> None:
    users, posts = "read {} /api/v1/users/", "read {} /api/v1/posts/"
    often = [_named(users.format(1)), _named(users.format(2))]
    assert moved._warm(_found(often, [_named(users.format(3))], MOVE)).passed
    other = _named(posts.format(3))
    assert not moved._warm(_found(often, [other], MOVE)).passed
    assert not moved._warm(_found([*often, other], [other], MOVE)).passed
    assert not moved._warm(_found([*often, BUSY], often, MOVE)).passed


def test_requests_have_to_meet_a_revision_or_to_be_around_a_short_one() -> None:
    short = replace(MOVE, end=10.01)
    around, far = attempt(9.8), attempt(9.0)
    assert moved._each(_found([], [attempt(11.0)], MOVE), "a", 300.0).passed
    assert not moved._each(_found([], [around], MOVE), "a", 300.0).passed
    assert moved._each(_found([], [around], short), "a", 300.0).passed
    assert not moved._each(_found([], [far], short), "a", 300.0).passed


def test_a_pool_that_is_warm_has_every_connection_beside_the_one_that_looks() -> None:
    assert overload._opened(overload.POOL_SIZE + 1).passed
    assert not overload._opened(overload.POOL_SIZE).passed
