"""Tests for retention."""

from datetime import datetime, timedelta
from itertools import count
from uuid import UUID

import pytest

from adapters.memory.unit_of_work import InMemoryStorage, InMemoryUnitOfWork
from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.ports import CommitResultUnknownError
from application.retention import PURGE_BATCH_SIZE, RetentionRule, RetentionService
from application.transactions import RetryPolicy
from domain.posts import PostStatus
from tests.support.factories import make_api_key, make_idempotency_record, make_post, make_user, store
from tests.support.principals import CountingStorage, HookedStorage
from tests.support.service_factories import START

SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
RECORDS = RetentionRule.IDEMPOTENCY_RECORDS


async def _store(storage: InMemoryStorage, expiries: list[datetime]) -> None:
    key = make_api_key()
    await store(storage, key)
    await store(storage, *[make_idempotency_record(key, ttl=at - START) for at in expiries])


@pytest.mark.parametrize(("expired", "batches"), [(0, 1), (2, 1), (3, 2), (7, 3)])
async def test_purge_deletes_all_expired_records_in_batches(expired: int, batches: int) -> None:
    storage = CountingStorage(clock=lambda: START)
    active = [START + SECOND, START + 2 * SECOND]
    await _store(storage, [*[START - number * SECOND for number in range(expired)], *active])
    before = storage.begun
    service = RetentionService(storage=storage, batch_size=3)
    assert await service.purge() == {RECORDS: expired}
    assert storage.begun - before == batches
    assert [record.expires_at for record in storage._tables.idempotency_records.values()] == active
    assert await service.purge() == {RECORDS: 0}


async def test_purge_keeps_earlier_batches_when_a_batch_fails(storage: InMemoryStorage) -> None:
    await _store(storage, [START] * 4)
    batches = count(1)

    async def fail_in_second_batch() -> None:
        if next(batches) == 2:
            raise RuntimeError

    failing = HookedStorage(storage, within=fail_in_second_batch, times=2)
    with pytest.raises(RuntimeError):
        await RetentionService(storage=failing, batch_size=3).purge()
    assert len(storage._tables.idempotency_records) == 1


def test_purge_batch_size_is_500(storage: InMemoryStorage) -> None:
    assert RetentionService(storage=storage).batch_size == PURGE_BATCH_SIZE == 500


async def _store_expired(storage: InMemoryStorage) -> None:
    """Store 3 drafts, 2 archived posts and 2 inactive users that were not changed for a day."""
    old = {"created_at": START, "updated_at": START}
    author, *inactive = [make_user(**old, is_active=is_active) for is_active in (True, False, False)]
    await store(storage, author, *inactive)
    posts = [make_post(author, **old, status=status) for status in [PostStatus.DRAFT] * 3 + [PostStatus.ARCHIVED] * 2]
    await store(storage, *posts, make_post(author, **old))


@pytest.mark.parametrize("is_on", [True, False])
@pytest.mark.parametrize(
    ("rule", "rows"),
    [(RetentionRule.DRAFTS, 3), (RetentionRule.ARCHIVED_POSTS, 2), (RetentionRule.INACTIVE_USERS, 2)],
)
async def test_purge_applies_only_rules_that_are_on(rule: RetentionRule, rows: int, is_on: bool) -> None:
    storage = InMemoryStorage(clock=lambda: START + DAY)
    await _store_expired(storage)
    purged: list[tuple[RetentionRule, int]] = []
    service = RetentionService(
        storage=storage, policy={rule: DAY} if is_on else {}, batch_size=2, on_purge=lambda *row: purged.append(row)
    )
    before = storage._tables.copy()
    expected = {RECORDS: 0} | ({rule: rows} if is_on else {})
    assert await service.count_expired() == expected
    assert storage._tables == before
    assert await service.purge() == expected
    assert {name: sum(number for rule, number in purged if rule is name) for name, _ in purged} == expected
    assert len(before.posts) + len(before.users) - len(storage._tables.posts) - len(storage._tables.users) == (
        rows if is_on else 0
    )
    assert await service.count_expired() == dict.fromkeys(expected, 0)


async def test_purge_of_a_user_is_reported_when_its_commit_is_unknown() -> None:
    class LosingStorage(InMemoryStorage):
        """Loses the result of each commit that deletes a user."""

        def transaction(self, actor: Principal = SYSTEM_PRINCIPAL) -> InMemoryUnitOfWork:
            before, unit = len(self._tables.users), super().transaction(actor)
            end = unit._view.end

            def lose(*, commit: bool) -> None:
                end(commit=commit)
                if len(self._tables.users) < before:
                    raise CommitResultUnknownError

            unit._view.end = lose  # type: ignore[method-assign]
            return unit

    storage = LosingStorage(clock=lambda: START + DAY)
    user = make_user(is_active=False, created_at=START, updated_at=START)
    await store(storage, user)
    deleted: list[UUID] = []
    service = RetentionService(
        storage=storage,
        policy={RetentionRule.INACTIVE_USERS: DAY},
        retry=RetryPolicy(max_elapsed=0),
        on_delete_user=deleted.append,
    )
    with pytest.raises(CommitResultUnknownError):
        await service.purge()
    assert deleted == [user.id]
    assert storage._tables.users == {}
