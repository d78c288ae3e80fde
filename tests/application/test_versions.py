"""Tests for the updates and deletions that users and posts share."""

from dataclasses import dataclass
from typing import Any

import pytest

from application.authorization import SYSTEM_PRINCIPAL
from application.posts import PostService
from application.users import UserService
from domain.errors import DomainError, VersionMismatchError
from domain.posts import PostNotFoundError, PostStatus
from domain.users import UserNotFoundError


@dataclass(frozen=True)
class Versioned:
    """An entity in version 1, its use cases, and fields that change it."""

    entity: Any
    service: Any
    changes: dict[str, Any]
    noop: dict[str, Any]
    not_found: type[DomainError]


@pytest.fixture(params=["user", "post"])
async def versioned(request: pytest.FixtureRequest, users: UserService, posts: PostService) -> Versioned:
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    if request.param == "user":
        changes = {"email": "lovelace@example.org", "full_name": "Ada"}
        return Versioned(user, users, changes, {"email": user.email, "is_active": True}, UserNotFoundError)
    post = await posts.create(SYSTEM_PRINCIPAL, author_id=user.id, title="T", content="C")
    changes = {"title": "New", "status": PostStatus.PUBLISHED}
    return Versioned(post, posts, changes, {"title": "T", "status": PostStatus.DRAFT}, PostNotFoundError)


async def test_update_stores_and_returns_the_new_version(versioned: Versioned) -> None:
    changed = await versioned.service.update(SYSTEM_PRINCIPAL, versioned.entity.id, **versioned.changes)
    assert changed == versioned.entity.update(now=changed.updated_at, **versioned.changes)
    assert changed.updated_at > versioned.entity.updated_at
    assert await versioned.service.get(SYSTEM_PRINCIPAL, changed.id) == changed


async def test_noop_update_keeps_the_version(versioned: Versioned) -> None:
    for changes in ({}, versioned.noop):
        assert await versioned.service.update(SYSTEM_PRINCIPAL, versioned.entity.id, **changes) == versioned.entity


async def test_update_and_delete_raise_mismatch_for_other_versions(versioned: Versioned) -> None:
    service, id_, changes = versioned.service, versioned.entity.id, versioned.changes
    changed = await service.update(SYSTEM_PRINCIPAL, id_, expected=[1], **changes)
    for wrong in (1, 3):
        with pytest.raises(VersionMismatchError):
            await service.update(SYSTEM_PRINCIPAL, id_, expected=[wrong], **changes)
        with pytest.raises(VersionMismatchError):
            await service.delete(SYSTEM_PRINCIPAL, id_, expected=[wrong])
    assert await service.get(SYSTEM_PRINCIPAL, id_) == changed
    await service.delete(SYSTEM_PRINCIPAL, id_, expected=[2])


async def test_use_cases_raise_not_found_after_delete(versioned: Versioned) -> None:
    service, id_ = versioned.service, versioned.entity.id
    await service.delete(SYSTEM_PRINCIPAL, id_)
    for use_case in (service.get, service.update, service.delete):
        with pytest.raises(versioned.not_found):
            await use_case(SYSTEM_PRINCIPAL, id_)
