"""Operations on users, posts and API keys alike."""

from collections.abc import Sequence
from typing import Any

from application.ports import Storage
from tests.support.examples import a_key, a_post, a_user, store

KINDS = ("users", "posts", "keys")
VERSIONED = ("users", "posts")
AUTHOR = a_user()
"""Has to be stored before a post is stored. `store_author` does it."""


def make(kind: str, **fields: Any) -> Any:
    """Return a new entity. AUTHOR is the author of a post."""
    if kind == "users":
        return a_user(**fields)
    return a_post(AUTHOR, **fields) if kind == "posts" else a_key(**fields)


async def store_author(storage: Storage, kind: str) -> None:
    """Store the author if the entities are posts."""
    if kind == "posts":
        await store(storage, AUTHOR)


async def listed(storage: Storage, kind: str, *, limit: int = 99, **arguments: Any) -> Sequence[Any]:
    async with storage.readonly() as work:
        repositories: dict[str, Any] = {"users": work.users, "posts": work.posts, "keys": work.api_keys}
        found: Sequence[Any] = await repositories[kind].list(limit=limit, **arguments)
        return found
