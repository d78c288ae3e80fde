"""Tests for lists of users, posts and API keys: order, filters and pages."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from adapters.clock import new_id
from application.ports import Storage
from tests.contract.entities import kinds, listed, make, versioned
from tests.support.factories import delete, make_user, newest_first, store

LOWEST, HIGHEST = UUID(int=0), UUID(int=2**128 - 1)


async def _fill(storage: Storage, kind: str, ids: Sequence[UUID]) -> list[Any]:
    """Store entities with these ids in this order. Return them from new to old."""
    entities = [make(kind, id=id_) for id_ in ids]
    await store(storage, *entities)
    return newest_first(entities)


@kinds
async def test_list_returns_newest_entities_below_the_cursor(storage: Storage, kind: str) -> None:
    ids = [new_id() for _ in range(7)]
    expected = await _fill(storage, kind, [ids[position] for position in (3, 0, 6, 1, 5, 2, 4)])
    for limit in (1, 3, 7, 9):
        assert await listed(storage, kind, limit=limit) == expected[:limit]
    for position, item in enumerate(expected, start=1):
        assert await listed(storage, kind, limit=9, after=item.id) == expected[position:]
    assert await listed(storage, kind, limit=2, after=expected[0].id) == expected[1:3]
    assert await listed(storage, kind, limit=9, after=HIGHEST) == expected
    assert await listed(storage, kind, limit=9, after=LOWEST) == []


@kinds
async def test_list_compares_ids_as_unsigned_numbers(storage: Storage, kind: str) -> None:
    ids = [HIGHEST, UUID(int=2**127), UUID(int=2**127 - 1), UUID(int=2**64), UUID(int=2**63), LOWEST]
    await _fill(storage, kind, ids)
    assert [item.id for item in await listed(storage, kind)] == ids
    assert [item.id for item in await listed(storage, kind, after=UUID(int=2**127))] == ids[2:]


@versioned
async def test_list_accepts_the_id_of_a_deleted_entity_as_cursor(storage: Storage, kind: str) -> None:
    stored = await _fill(storage, kind, [new_id() for _ in range(4)])
    await delete(storage, stored[1])
    assert await listed(storage, kind, after=stored[1].id) == stored[2:]


@versioned
async def test_list_pages_are_complete_during_concurrent_writes(storage: Storage, kind: str) -> None:
    unseen = await _fill(storage, kind, [new_id() for _ in range(20)])
    seen: list[Any] = []
    expected: list[Any] = []
    while page := await listed(storage, kind, limit=3, after=seen[-1].id if seen else None):
        expected += unseen[: len(page)]
        seen += page
        await store(storage, make(kind), make(kind))
        # the entity of the cursor, and the first entity of the next page
        await delete(storage, page[-1], *unseen[len(page) : len(page) + 1])
        unseen = unseen[len(page) + 1 :]
    assert seen == expected
    assert len(seen) == 15


async def test_list_users_combines_is_active_with_the_cursor(storage: Storage) -> None:
    users = [make_user(is_active=number % 3 != 0) for number in range(9)]
    await store(storage, *users)
    for is_active in (None, True, False):
        for after in (None, users[5].id):
            expected = [
                user
                for user in newest_first(users)
                if is_active in {None, user.is_active} and (after is None or user.id < after)
            ]
            for limit in (9, 2):
                page = await listed(storage, "users", limit=limit, after=after, is_active=is_active)
                assert page == expected[:limit]
