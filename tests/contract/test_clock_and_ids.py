"""The clock and the ids that the ports ask for."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from adapters.system import new_id, utc_now


def test_the_time_is_aware_and_in_utc() -> None:
    before = datetime.now(UTC)
    now = utc_now()
    assert before <= now <= datetime.now(UTC)
    assert (now.tzinfo, now.utcoffset()) == (UTC, timedelta(0))


def test_each_id_is_greater_than_every_one_before() -> None:
    ids = [new_id() for _ in range(20_000)]
    assert all(one < other for one, other in pairwise(ids))
    assert {(id_.version, id_.variant) for id_ in ids} == {(7, "specified in RFC 4122")}


def test_an_id_says_when_it_was_made() -> None:
    before = int(utc_now().timestamp() * 1000)
    made = new_id().int >> 80
    assert before <= made <= int(utc_now().timestamp() * 1000) + 1


def test_threads_get_ids_of_their_own() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: new_id(), range(8_000)))
    assert len(set(ids)) == len(ids)
