"""Tests for the checks of single drills."""

from collections.abc import Sequence
from dataclasses import fields, replace

import pytest

from tests.drills import (
    cancelled_requests,
    database_outages,
    exactly_once,
    frozen_database,
    overload,
    rolling_restart,
    service_killed,
    steady_load,
    transaction_conflicts,
)
from tests.drills.faults.disposable_postgres import DisposablePostgres
from tests.drills.faults.http_proxy import FAULTS, HttpProxy
from tests.drills.load.http_connection import CANCELLED, REFUSED, UNKNOWN
from tests.drills.load.load_job import Attempt
from tests.drills.load.workload import SeedData
from tests.drills.sample_attempts import BUSY, GOOD, SILENT, attempt
from tests.drills.scenario import ScenarioError, ScenarioSize
from tests.drills.schema_changes import schema_change_checks
from tests.drills.schema_changes.bulk_data import BulkData
from tests.drills.schema_changes.revision_cycle import RevisionRun
from tests.drills.verifications import FaultTimeline


def test_outage_check_bounds_the_time_after_outages() -> None:
    faults = FaultTimeline([("a", 10.0, 14.0), ("b", 15.0, 16.0)])
    assert database_outages._slowest([attempt(12.0, 3.5)], faults, 2.0).passed
    assert not database_outages._slowest([attempt(9.0, 8.0)], faults, 2.0).passed
    assert not database_outages._slowest([], faults, 2.0).passed


def test_outage_check_requires_number_length_and_requests() -> None:
    size = ScenarioSize(times=2, seconds=5.0)
    meeting = [attempt(number / 10) for number in range(300)]
    long_enough = FaultTimeline([("away", 1.0, 1.5), ("away", 10.0, 14.5)])
    assert database_outages._outages(long_enough, size, meeting).passed
    assert not database_outages._outages(long_enough, size, meeting[:50]).passed
    assert not database_outages._outages(FaultTimeline(long_enough.moments[1:]), size, meeting).passed
    assert not database_outages._outages(
        FaultTimeline([("away", 1.0, 1.01), ("away", 10.0, 10.01)]), size, meeting
    ).passed
    too_long = FaultTimeline([("away", 1.0, 7.0), ("away", 10.0, 15.5)])
    assert not database_outages._outages(too_long, size, meeting).passed
    check = database_outages._outages(FaultTimeline([*long_enough.moments[1:], *too_long.moments[:1]]), size, meeting)
    assert check.passed
    assert "1 took too long" in check.figure


def test_outage_of_backends_fails_without_a_session() -> None:
    class Deserted(DisposablePostgres):
        def __init__(self) -> None:
            pass

        def terminate_backends(self) -> int:
            return 0

    with pytest.raises(ScenarioError, match="no session"):
        database_outages._terminated(Deserted(), 0.0)


def test_conflict_check_requires_each_kind() -> None:
    found = transaction_conflicts.Conflicts(
        injected_failures=1, injected_deadlocks=1, real_failures=1, real_deadlocks=1
    )
    assert transaction_conflicts._conflicts(found).passed
    for kind in fields(found):
        assert not transaction_conflicts._conflicts(replace(found, **{kind.name: 0})).passed


def test_cancellation_check_requires_stored_writes_and_an_end() -> None:
    gone = attempt(outcome=CANCELLED, status=0)
    assert cancelled_requests._hung_up([gone], {"drill 1": ["1"]}).passed
    assert not cancelled_requests._hung_up([gone], {}).passed
    assert not cancelled_requests._hung_up([GOOD], {"drill 1": ["1"]}).passed
    assert cancelled_requests._ended(cancelled_requests.POOL_SIZE, 0, 3.0).passed
    assert not cancelled_requests._ended(cancelled_requests.POOL_SIZE, 1, 30.0).passed
    assert not cancelled_requests._ended(cancelled_requests.POOL_SIZE - 1, 0, 3.0).passed


def test_restart_check_requires_number_and_requests() -> None:
    faults = FaultTimeline([("rolled", 1.0, 3.0), ("rolled", 4.0, 6.0)])
    assert rolling_restart._replaced(faults, [attempt(2.0), attempt(5.0)], 2).passed
    assert not rolling_restart._replaced(faults, [attempt(2.0)], 2).passed
    assert not rolling_restart._replaced(faults, [attempt(2.0), attempt(5.0)], 3).passed


def test_kill_check_requires_requests_at_half_of_the_kills() -> None:
    unknown = [attempt(due, 1.0, UNKNOWN, 0) for due in (10.0, 20.0)]
    assert service_killed._kills(unknown, [10.5, 20.5, 30.5, 40.5], FaultTimeline(), 4).passed
    assert not service_killed._kills(unknown[:1], [10.5, 20.5, 30.5, 40.5], FaultTimeline(), 4).passed
    assert not service_killed._kills([attempt(10.0, 1.0)], [10.5], FaultTimeline(), 1).passed
    assert not service_killed._kills(unknown, [10.5, 20.5], FaultTimeline(), 4).passed


def test_cut_check_requires_each_fault_among_many_requests() -> None:
    proxy = HttpProxy(seed="", server_port=0)
    assert not exactly_once._faults("it", proxy, FAULTS, 10).passed
    proxy.cuts.update(FAULTS[1:])
    assert exactly_once._faults("it", proxy, FAULTS, 10).passed
    assert not exactly_once._faults("it", proxy, FAULTS, 10_000).passed
    proxy.cuts.update(FAULTS)
    assert exactly_once._faults("it", proxy, FAULTS, 10_000).passed


def test_frozen_database_check_requires_refusals_and_a_bound() -> None:
    faults = FaultTimeline([("frozen", 10.0, 14.0)])
    during = attempt(12.0, 2.0, REFUSED, 503)
    assert frozen_database._bounded([attempt(12.0, 2.9)], 3.0).passed
    assert not frozen_database._bounded([attempt(12.0, 3.1)], 3.0).passed
    assert frozen_database._met([during], faults).passed
    assert not frozen_database._met([attempt(12.0, 2.5)], faults).passed
    assert not frozen_database._met([during], FaultTimeline([*faults.moments, ("frozen", 20.0, 24.0)])).passed


def test_frozen_database_check_requires_success_after_each_fault() -> None:
    faults = FaultTimeline([("frozen", 10.0, 14.0), ("frozen", 20.0, 24.0)])
    between, met, after = attempt(17.0), attempt(19.5, 2.0, REFUSED, 503), attempt(27.0)
    assert frozen_database._back([between, met, after], faults).passed
    assert not frozen_database._back([met, after], faults).passed
    assert not frozen_database._back([between, met], faults).passed
    assert not frozen_database._back([replace(between, status=503, outcome=REFUSED), met, after], faults).passed
    assert not frozen_database._back([between, after], FaultTimeline()).passed


def test_shedding_check_requires_503_with_retry_after() -> None:
    assert overload._shed([BUSY], [GOOD, BUSY]).passed
    assert not overload._shed([], [GOOD]).passed
    assert not overload._shed([BUSY], [BUSY, replace(BUSY, headers={})]).passed
    assert not overload._shed([BUSY], [BUSY, SILENT]).passed


BEFORE = [GOOD] * 100
AFTER = [attempt(10.0 + number / 20) for number in range(100)]


@pytest.mark.parametrize(
    ("before", "after", "within", "passes"),
    [
        (BEFORE, AFTER, 2.0, True),
        (BEFORE, [*AFTER, *[attempt(11.1, 1.0)] * 20], 1.5, True),
        (BEFORE, [*AFTER, *[attempt(11.1, 1.0)] * 20], 1.0, False),
        (BEFORE, [*AFTER, replace(BUSY, due=14.0)], 2.0, False),
        (BEFORE, [], 2.0, False),
        (BEFORE, AFTER[:40], 2.0, False),
        ([], AFTER, 2.0, False),
        ([*BEFORE, BUSY], AFTER, 2.0, False),
    ],
)
def test_recovery_check_finds_the_last_slow_slice(
    before: list[Attempt], after: list[Attempt], within: float, passes: bool
) -> None:
    assert overload._recovered(before, after, 10.0, within).passed == passes


def test_overload_checks_compare_with_the_capacity() -> None:
    responses = [attempt(number / 100) for number in range(101)]
    assert overload._speed(responses, 100.0, 0.8).passed
    assert not overload._speed(responses, 200.0, 0.8).passed
    assert not overload._rate(responses, 100.0).passed
    assert overload._rate(responses, 20.0).passed
    assert overload._opened(overload.POOL_SIZE + 1).passed
    assert not overload._opened(overload.POOL_SIZE).passed


def test_memory_check_fails_for_growth_after_the_warm_up() -> None:
    flat = [(float(second), 100 * 2**20) for second in range(600)]
    growing = [(at, size + int(at) * 2**15) for at, size in flat]
    assert steady_load._memory(flat, 600.0).passed
    assert not steady_load._memory(growing, 600.0).passed
    assert "too short a time" in steady_load._memory(growing[:60], 60.0).figure


def test_steady_load_checks_require_rate_and_latency() -> None:
    attempts = [GOOD] * 60
    assert steady_load._rate(attempts, 100.0, 1.0, 0.6).passed
    assert not steady_load._rate(attempts, 1000.0, 1.0, 0.6).passed
    assert steady_load._latency(attempts, 100.0).passed
    assert not steady_load._latency([attempt(took=0.2)], 100.0).passed


MOVE = RevisionRun(revision="a", doc="a column", up=True, start=10.0, end=12.0)


def _found(
    warm: Sequence[Attempt], attempts: Sequence[Attempt], move: RevisionRun = MOVE
) -> schema_change_checks.Observations:
    state = schema_change_checks.SchemaSnapshot(revisions=["a"], schema=[])
    return schema_change_checks.Observations(
        release="this",
        filled=BulkData(posts=1, sample=[], authors=[]),
        seeds=SeedData(authors={}, posts={}),
        warm=warm,
        pause=0.5,
        connections=2,
        outdated=0,
        attempts=attempts,
        moves=[move],
        before=state,
        after=state,
    )


def test_warm_up_check_requires_each_request_per_connection() -> None:
    first, second, third = (replace(GOOD, operation=f"read {number} /api/v1/users/") for number in (1, 2, 3))
    other = replace(GOOD, operation="read 3 /api/v1/posts/")
    assert schema_change_checks._warm(_found([first, second], [third])).passed
    assert not schema_change_checks._warm(_found([first, second], [other])).passed
    assert not schema_change_checks._warm(_found([first, second, other], [other])).passed
    assert not schema_change_checks._warm(_found([first, second, BUSY], [first])).passed


@pytest.mark.parametrize(
    ("end", "due", "passes"), [(12.0, 11.0, True), (12.0, 9.8, False), (10.01, 9.8, True), (10.01, 9.0, False)]
)
def test_revision_check_requires_a_request(end: float, due: float, passes: bool) -> None:
    assert (
        schema_change_checks._latency_per_revision(
            _found([], [attempt(due)], replace(MOVE, end=end)), "a", 300.0
        ).passed
        == passes
    )
