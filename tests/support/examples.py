"""Users and posts to store: no field has a value that a forgotten mapping could produce by chance."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any
from uuid import UUID

from adapters.system import new_id
from application.ports import Storage
from domain.posts import Post, PostStatus
from domain.users import User

CREATED = datetime(2031, 5, 17, 23, 59, 58, 123_457, tzinfo=UTC)
UPDATED = datetime(2032, 2, 29, 0, 0, 1, 1, tzinfo=UTC)
PUBLISHED = datetime(2031, 12, 31, 22, 1, 2, 999_999, tzinfo=UTC)

_numbers = count(1)


def a_user(**fields: Any) -> User:
    """Return a new user with the fields given, and unlike every other."""
    user = User(
        id=new_id(),
        email=f"Zoë.{next(_numbers)}+Ω@Bücher.example",
        full_name="Zoë 🦉 Ωmega-ß",
        is_active=True,
        created_at=CREATED,
        updated_at=UPDATED,
        version=1,
    )
    return replace(user, **fields)


def a_post(author: User | UUID, **fields: Any) -> Post:
    """Return a new published post with the fields given, and unlike every other."""
    post = Post(
        id=new_id(),
        author_id=author.id if isinstance(author, User) else author,
        title=f"Über {next(_numbers)} 🦉",
        content="first\n\tsecond 'line' \"%s\" %(x)s $1 :y \\",
        status=PostStatus.PUBLISHED,
        published_at=PUBLISHED,
        created_at=CREATED,
        updated_at=UPDATED,
        version=1,
    )
    return replace(post, **fields)


def next_version(entity: Any, **fields: Any) -> Any:
    """Return the entity as its next version."""
    return replace(entity, **fields, version=entity.version + 1, updated_at=entity.updated_at + timedelta(seconds=1))


async def store_users(storage: Storage, *users: User) -> None:
    async with storage.transaction() as work:
        for user in users:
            await work.users.add(user)


async def store_posts(storage: Storage, *posts: Post) -> None:
    async with storage.transaction() as work:
        for post in posts:
            await work.posts.add(post)


async def stored_users(storage: Storage) -> list[User]:
    async with storage.readonly() as work:
        return list(await work.users.list(limit=1000))


async def stored_posts(storage: Storage) -> list[Post]:
    async with storage.readonly() as work:
        return list(await work.posts.list(limit=1000))


def newest_first(entities: Iterable[Any]) -> list[Any]:
    return sorted(entities, key=lambda entity: entity.id, reverse=True)
