"""Operations on users, posts and API keys alike."""

from collections.abc import Sequence
from typing import Any

from application.ports import Storage, UnitOfWork
from domain.posts import Post
from domain.users import User
from tests.support.examples import a_key, a_post, a_user

KINDS = ("users", "posts", "keys")
VERSIONED = ("users", "posts")
AUTHOR = a_user()
"""Has to be stored before a post is stored. `store_author` does it."""


def make(kind: str, **fields: Any) -> Any:
    """Return a new entity. AUTHOR is the author of a post."""
    if kind == "users":
        return a_user(**fields)
    return a_post(AUTHOR, **fields) if kind == "posts" else a_key(**fields)


def repository(work: UnitOfWork, entity: Any) -> Any:
    """Return the repository of this entity."""
    if isinstance(entity, User):
        return work.users
    return work.posts if isinstance(entity, Post) else work.keys


async def store(storage: Storage, *entities: Any) -> None:
    async with storage.transaction() as work:
        for entity in entities:
            await repository(work, entity).add(entity)


async def store_author(storage: Storage, kind: str) -> None:
    """Store the author if the entities are posts."""
    if kind == "posts":
        await store(storage, AUTHOR)


async def update(storage: Storage, entity: Any, **arguments: Any) -> None:
    async with storage.transaction() as work:
        await repository(work, entity).update(entity, **arguments)


async def delete(storage: Storage, *entities: Any) -> None:
    async with storage.transaction() as work:
        for entity in entities:
            await repository(work, entity).remove(entity)


async def listed(storage: Storage, kind: str, *, limit: int = 99, **arguments: Any) -> Sequence[Any]:
    async with storage.readonly() as work:
        found: Sequence[Any] = await getattr(work, kind).list(limit=limit, **arguments)
        return found
