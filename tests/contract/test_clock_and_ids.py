"""Tests for the clock and the generator of ids."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from adapters.clock import new_id, utc_now


def test_utc_now_returns_aware_utc_time() -> None:
    before = datetime.now(UTC)
    now = utc_now()
    assert before <= now <= datetime.now(UTC)
    assert (now.tzinfo, now.utcoffset()) == (UTC, timedelta(0))


def test_new_id_returns_increasing_uuid7() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert all(one < other for one, other in pairwise(ids))
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, "specified in RFC 4122")}


def test_new_id_contains_the_time_of_its_creation() -> None:
    before = int(utc_now().timestamp() * 1000)
    made = new_id().int >> 80
    assert before <= made <= int(utc_now().timestamp() * 1000) + 1


def test_new_id_is_unique_across_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: new_id(), range(8_000)))
    assert len(set(ids)) == len(ids)
