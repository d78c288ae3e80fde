"""Tests for snapshots, and for the export of a user."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from application.authorization import SYSTEM_PRINCIPAL
from application.ports import Storage
from application.user_export import PAGE_SIZE, USER_DATA, UserExportService
from domain.users import User, UserNotFoundError
from tests.support.factories import (
    delete,
    make_api_key,
    make_post,
    make_user,
    newest_first,
    next_version,
    store,
    stored_api_keys,
    stored_posts,
    update,
)


async def _exported(storage: Storage, user_id: UUID) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    async for page in UserExportService(storage).export(SYSTEM_PRINCIPAL, user_id):
        found.setdefault(page.table, []).extend(page.entities)
    return found


async def _store_data(storage: Storage, user: User, posts: int) -> dict[str, Sequence[Any]]:
    """Store a user with all data that a user can have. Return it as in an export."""
    await store(storage, user)
    data: dict[str, list[Any]] = {
        "posts": [make_post(user) for _ in range(posts)],
        "api_keys": [make_api_key(user) for _ in range(2)],
    }
    await store(storage, *data["posts"], *data["api_keys"])
    return {"users": [user], **{table: newest_first(entities) for table, entities in data.items()}}


@pytest.mark.parametrize("posts", [0, 1, PAGE_SIZE, PAGE_SIZE + 1, 2 * PAGE_SIZE])
async def test_export_contains_only_the_data_of_the_user(storage: Storage, posts: int) -> None:
    expected: dict[str, Any] = {**await _store_data(storage, user := make_user(), posts)}
    await _store_data(storage, make_user(), 1)
    await store(storage, make_api_key())
    async with storage.readonly() as work:
        entries = await work.audit.list(limit=1000)
    expected["audit_entries"] = [entry for entry in entries if entry.user_id == user.id]
    assert len(expected["audit_entries"]) == 1 + posts + 2
    assert await _exported(storage, user.id) == expected


async def test_user_delete_erases_all_exported_data(storage: Storage) -> None:
    data = await _store_data(storage, user := make_user(), 2)
    assert {*data, "audit_entries"} == {"users", *USER_DATA}
    await delete(storage, user)
    with pytest.raises(UserNotFoundError):
        await _exported(storage, user.id)
    assert [*await stored_posts(storage), *await stored_api_keys(storage)] == []


async def test_snapshot_keeps_its_state_during_writes(storage: Storage) -> None:
    await _store_data(storage, user := make_user(), 1)
    async with storage.snapshot() as work:
        before = await work.users.get(user.id)
        await update(storage, next_version(user, email="new@example.org"))
        await store(storage, make_post(user), make_api_key(user))
        assert await work.users.get(user.id) == before == user
        assert len(await work.posts.list(limit=9, author_id=user.id)) == 1
        await delete(storage, next_version(user, email="new@example.org"))
        assert len(await work.api_keys.list(limit=9, user_id=user.id)) == 2
    with pytest.raises(UserNotFoundError):
        async with storage.snapshot() as work:
            await work.users.get(user.id)


async def test_snapshot_raises_for_a_write(storage: Storage) -> None:
    with pytest.raises(RuntimeError):
        async with storage.snapshot() as work:
            await work.users.add(make_user())


async def test_api_key_list_selects_the_keys_of_a_user(storage: Storage) -> None:
    await store(storage, user := make_user(), other := make_user())
    keys = newest_first([make_api_key(user) for _ in range(3)])
    await store(storage, *keys, make_api_key(other), make_api_key())
    async with storage.readonly() as work:
        first = await work.api_keys.list(limit=2, user_id=user.id)
        assert [*first, *await work.api_keys.list(limit=2, after=first[-1].id, user_id=user.id)] == keys
