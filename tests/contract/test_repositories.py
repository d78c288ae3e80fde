"""Tests for the operations that the repositories of users, posts and API keys share."""

from collections.abc import Awaitable, Callable
from dataclasses import fields, is_dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import pytest

from adapters.clock import new_id
from application.ports import ConcurrentUpdateError, Storage
from domain.api_keys import USER_SCOPES, ApiKeyHash, ApiKeyNotFoundError, Scope
from domain.posts import PostChanges, PostNotFoundError, PostStatus
from domain.users import UserChanges, UserNotFoundError
from tests.contract.entities import AUTHOR, kinds, listed, make, versioned
from tests.support.factories import (
    REVOKED,
    delete,
    make_api_key,
    make_post,
    make_user,
    next_version,
    repository,
    store,
    update,
    values,
)

Write = Callable[[Storage, Any], Awaitable[None]]
OWL = "\U0001f989"
GROWING = "\u33af" * 21 + "@example.org"  # NFKC makes six characters of each
LONGEST = "x" * 64 + "@" + ".".join(["y" * 61] * 3) + ".abc"
EXAMPLES = {
    "user": make_user(),
    "user without a name, inactive": make_user(full_name=None, is_active=False, version=2**53 - 1),
    "longest user": make_user(email=LONGEST, full_name=OWL * 200),
    "longest normalized e-mail": make_user(email=GROWING),
    "shortest user": make_user(email="a@b.cd", full_name="x"),
    "published post": make_post(AUTHOR),
    "draft": make_post(AUTHOR, status=PostStatus.DRAFT),
    "archived post": make_post(AUTHOR, status=PostStatus.ARCHIVED, version=2**53 - 1),
    "longest post": make_post(AUTHOR, title=OWL * 200, content=OWL * 2000),
    "shortest post": make_post(AUTHOR, title="x", content="y"),
    "key": make_api_key(),
    "bound key": make_api_key(AUTHOR, scopes=USER_SCOPES),
    "unused key without expiry": make_api_key(expires_at=None, last_used_at=None),
    "revoked key": make_api_key(revoked_at=REVOKED),
    "longest key": make_api_key(scopes=frozenset(Scope), name=OWL * 100),
    "shortest key": make_api_key(scopes=frozenset({Scope.METRICS_READ}), name="x"),
    "other pepper": make_api_key(secret_hash=ApiKeyHash(pepper=2_147_483_647, digest=bytes(32))),
}
publish = partial(update, publishes=True)
all_updates = pytest.mark.parametrize(
    ("kind", "write"), [("users", update), ("posts", update), ("posts", publish)], indirect=["kind"]
)
all_writes = pytest.mark.parametrize(
    ("kind", "write", "version"),
    [("users", update, 3), ("posts", update, 3), ("posts", publish, 3), ("users", delete, 2), ("posts", delete, 2)],
    indirect=["kind"],
)
"""The writes of an entity, and the version that each requires of it if version 2 is stored."""


def _types(value: Any) -> list[object]:
    """Return the types of all values in an entity, and the offsets of its times."""
    if is_dataclass(value):
        return [kind for field in fields(value) for kind in _types(getattr(value, field.name))]
    if isinstance(value, frozenset):
        return [kind for item in sorted(value) for kind in _types(item)]
    if isinstance(value, datetime):
        return [datetime, value.utcoffset()]
    return [UUID if isinstance(value, UUID) else type(value)]


@pytest.mark.parametrize("entity", EXAMPLES.values(), ids=EXAMPLES)
async def test_repository_returns_the_added_entity(storage: Storage, entity: Any) -> None:
    await store(storage, AUTHOR)
    await store(storage, entity)
    async with storage.readonly() as work:
        entities = repository(work, entity)
        read = await entities.get(entity.id)
        assert await entities.list(limit=1) == [entity]
    assert read == entity
    assert _types(read) == _types(entity)


@all_updates
async def test_update_passes_the_bound_of_integer(storage: Storage, kind: str, write: Write) -> None:
    entity = make(kind, version=2**31 - 1)
    await store(storage, entity)
    await write(storage, next_version(entity))
    assert await listed(storage, kind) == [next_version(entity)]


@pytest.mark.parametrize(
    ("kind", "error"),
    [("users", UserNotFoundError), ("posts", PostNotFoundError), ("keys", ApiKeyNotFoundError)],
    indirect=["kind"],
)
async def test_repository_get_raises_for_unknown_id(storage: Storage, kind: str, error: type[Exception]) -> None:
    entity = make(kind)
    await store(storage, entity)
    async with storage.readonly() as work:
        with pytest.raises(error):
            await repository(work, entity).get(new_id())


@kinds
async def test_repository_add_keeps_entity_with_the_same_id(storage: Storage, kind: str) -> None:
    entity = make(kind)
    await store(storage, entity)
    await store(storage, entity, make(kind, id=entity.id))
    assert await listed(storage, kind) == [entity]


@versioned
async def test_repository_add_keeps_entity_updated_since(storage: Storage, kind: str) -> None:
    entity = make(kind)
    changed = next_version(entity, **({"email": "new@example.org"} if kind == "users" else {"title": "later"}))
    await store(storage, entity)
    await update(storage, changed)
    await store(storage, entity)
    assert await listed(storage, kind) == [changed]


@all_updates
async def test_repository_update_stores_every_changeable_field(storage: Storage, kind: str, write: Write) -> None:
    bystander = make(kind)
    if kind == "users":
        entity = make(kind)
        changes = values(make(kind, is_active=False), UserChanges.__annotations__)
    else:
        entity = make(kind, status=PostStatus.DRAFT)
        changes = values(make(kind), [*PostChanges.__annotations__, "published_at"])
    assert not set(changes.items()) & set(values(entity, changes).items()), "every field changes"
    await store(storage, bystander, entity)
    changed = next_version(entity, **changes)
    await write(storage, changed)
    assert await listed(storage, kind) == [changed, bystander]


@versioned
async def test_repository_delete_keeps_other_entities(storage: Storage, kind: str) -> None:
    entity, other = make(kind), make(kind)
    await store(storage, entity, other)
    await delete(storage, entity)
    assert await listed(storage, kind) == [other]


@all_writes
@pytest.mark.parametrize("difference", [-2, -1, 1, 2])
async def test_repository_write_raises_for_another_version(
    storage: Storage, kind: str, write: Write, version: int, difference: int
) -> None:
    entity = make(kind, version=2)
    await store(storage, entity)
    with pytest.raises(ConcurrentUpdateError):
        await write(storage, replace(entity, version=version + difference))
    assert await listed(storage, kind) == [entity]


@all_writes
async def test_repository_write_raises_for_unknown_id(storage: Storage, kind: str, write: Write, version: int) -> None:
    with pytest.raises(ConcurrentUpdateError):
        await write(storage, make(kind, version=version))
    assert await listed(storage, kind) == []
