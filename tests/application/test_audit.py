"""Tests for the actors of audit entries, in all use cases that write."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pytest

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from application.audit import AuditService
from application.authorization import SYSTEM_PRINCIPAL, ForbiddenError, Principal
from application.retention import RetentionRule, RetentionService
from domain.api_keys import Scope
from domain.audit import ActorKind, AuditEntry, AuditOperation, ErasureNotFoundError
from tests.support.factories import make_user, store
from tests.support.principals import principal_without, unbound_principal
from tests.support.service_factories import START, key_service, post_service, user_service

DAY = timedelta(days=1)


async def _entries(storage: InMemoryStorage) -> Sequence[AuditEntry]:
    page = await AuditService(storage=storage).list(SYSTEM_PRINCIPAL, limit=100)
    return list(reversed(page.items))


async def _use_everything(storage: InMemoryStorage, actor: Principal) -> None:
    users, posts, keys = user_service(storage), post_service(storage), key_service(storage)
    user = await users.create(actor, email="ada@example.org")
    await users.update(actor, user.id, full_name="Ada")
    post = await posts.create(actor, author_id=user.id, title="x", content="x")
    await posts.update(actor, post.id, title="y")
    await posts.delete(actor, post.id)
    created = await keys.create(actor, name="x", scopes=[Scope.POSTS_READ])
    await keys.rotate(actor, created.key.id, until=START + DAY)
    await keys.revoke(actor, created.key.id)
    await users.delete(actor, user.id)


@pytest.mark.parametrize(
    "actor", [SYSTEM_PRINCIPAL, unbound_principal(*Scope).for_request("request-1")], ids=["operator", "key"]
)
async def test_each_use_case_that_writes_records_its_principal(actor: Principal) -> None:
    storage = InMemoryStorage()
    await _use_everything(storage, actor)
    found = await _entries(storage)
    assert [entry.operation for entry in found] == [
        AuditOperation.CREATED,
        AuditOperation.UPDATED,
        AuditOperation.CREATED,
        AuditOperation.UPDATED,
        AuditOperation.DELETED,
        AuditOperation.CREATED,
        AuditOperation.ROTATED,
        AuditOperation.CREATED,
        AuditOperation.REVOKED,
        AuditOperation.DELETED,
    ]
    assert {(entry.actor_kind, entry.actor_id) for entry in found} == {(actor.kind, actor.api_key_id)}
    assert {entry.request_id for entry in found if entry.user_id is None} == {actor.request_id}


async def test_update_without_change_leaves_no_entry() -> None:
    storage = InMemoryStorage()
    users = user_service(storage)
    user = await users.create(SYSTEM_PRINCIPAL, email="ada@example.org")
    await users.update(SYSTEM_PRINCIPAL, user.id, email="ada@example.org")
    assert len(await _entries(storage)) == 1


async def test_purge_is_the_actor_of_its_deletions() -> None:
    storage = InMemoryStorage(clock=lambda: START + 2 * DAY)
    await store(storage, make_user(is_active=False, created_at=START, updated_at=START))
    await RetentionService(storage=storage, policy={RetentionRule.INACTIVE_USERS: DAY}).purge()
    created, deleted = await _entries(storage)
    assert (created.actor_kind, deleted.actor_kind) == (ActorKind.OPERATOR, ActorKind.PURGE)


@pytest.mark.parametrize("is_on", [False, True])
async def test_purge_deletes_audit_entries_only_by_policy(*, is_on: bool) -> None:
    now = START
    storage = InMemoryStorage(clock=lambda: now)
    await store(storage, make_user())
    await store(storage, make_user())
    now += DAY
    await store(storage, make_user())
    service = RetentionService(
        storage=storage, policy={RetentionRule.AUDIT_ENTRIES: DAY} if is_on else {}, batch_size=1
    )
    assert (await service.count_expired()).get(RetentionRule.AUDIT_ENTRIES) == (2 if is_on else None)
    await service.purge()
    assert len(await _entries(storage)) == (1 if is_on else 3)


@pytest.mark.parametrize("make_principal", [principal_without, unbound_principal], ids=["all but audit", "audit only"])
async def test_audit_use_cases_require_their_scope(make_principal: Callable[..., Principal]) -> None:
    service = AuditService(storage=InMemoryStorage())
    principal = make_principal(Scope.AUDIT_READ)
    if Scope.AUDIT_READ in principal.scopes:
        assert (await service.list(principal, limit=1)).items == []
        with pytest.raises(ErasureNotFoundError):
            await service.get_erasure(principal, new_id())
    else:
        with pytest.raises(ForbiddenError):
            await service.list(principal, limit=1)
        with pytest.raises(ForbiddenError):
            await service.get_erasure(principal, new_id())
