"""Operations on users, posts and API keys alike."""

from collections.abc import Sequence
from typing import Any

import pytest

from application.ports import Storage
from tests.support.factories import make_api_key, make_post, make_user

KINDS = ("users", "posts", "keys")
VERSIONED = ("users", "posts")
kinds = pytest.mark.parametrize("kind", KINDS, indirect=True)
versioned = pytest.mark.parametrize("kind", VERSIONED, indirect=True)
AUTHOR = make_user()
"""Has to be stored before a post is stored. The fixture `kind` does it."""


def make(kind: str, **fields: Any) -> Any:
    """Return a new entity. AUTHOR is the author of a post."""
    if kind == "users":
        return make_user(**fields)
    return make_post(AUTHOR, **fields) if kind == "posts" else make_api_key(**fields)


async def listed(storage: Storage, kind: str, *, limit: int = 99, **arguments: Any) -> Sequence[Any]:
    async with storage.readonly() as work:
        repositories: dict[str, Any] = {"users": work.users, "posts": work.posts, "keys": work.api_keys}
        found: Sequence[Any] = await repositories[kind].list(limit=limit, **arguments)
        return found
