"""Tests for the audit entries that repositories write with each change."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest

from adapters.clock import new_id, utc_now
from application.authorization import PURGE_PRINCIPAL, SYSTEM_PRINCIPAL, Principal
from application.ports import ConcurrentUpdateError, Storage
from domain.api_keys import ApiKeyNotFoundError
from domain.audit import ActorKind, AuditEntry, AuditOperation, SubjectKind
from domain.posts import AuthorNotFoundError, PostStatus
from domain.users import EmailAlreadyRegisteredError
from tests.contract.conftest import AtOnce
from tests.support.factories import (
    EXPIRES,
    PUBLISHED,
    REVOKED,
    make_api_key,
    make_post,
    make_user,
    next_version,
    repository,
    store,
    update,
)
from tests.support.principals import unbound_principal
from tests.support.service_factories import post_service

DAY = timedelta(days=1)
AUTHOR = make_user()
ACTOR = replace(unbound_principal(), request_id="request-1")
SUBJECTS = [SubjectKind.USER, SubjectKind.POST, SubjectKind.API_KEY]


async def entries(storage: Storage, **filters: Any) -> list[AuditEntry]:
    """Return the stored audit entries, oldest first."""
    async with storage.readonly() as work:
        return list(reversed(await work.audit.list(limit=1000, **filters)))


def _summary(entry: AuditEntry) -> tuple[Any, ...]:
    return entry.operation, entry.subject_kind, entry.subject_id, entry.version_before, entry.version_after


def _subject(kind: SubjectKind) -> tuple[Any, UUID | None]:
    """Return an entity for AUTHOR, and the ID of the user whom it concerns."""
    if kind is SubjectKind.USER:
        user = make_user()
        return user, user.id
    return (make_post(AUTHOR), AUTHOR.id) if kind is SubjectKind.POST else (make_api_key(), None)


@pytest.mark.parametrize("kind", SUBJECTS)
async def test_new_entity_has_audit_entry_of_its_actor(storage: Storage, kind: SubjectKind) -> None:
    await store(storage, AUTHOR)
    entity, user_id = _subject(kind)
    started = utc_now() - timedelta(minutes=5)
    for _ in range(2):  # an insert that is repeated has no effect
        async with storage.transaction(ACTOR) as work:
            await repository(work, entity).add(entity)
    (entry,) = await entries(storage, subject_id=entity.id)
    version = None if kind is SubjectKind.API_KEY else 1
    assert started < entry.created_at < utc_now() + timedelta(minutes=5)
    assert entry == AuditEntry(
        id=entry.id,
        created_at=entry.created_at,
        actor_kind=ActorKind.API_KEY,
        actor_id=ACTOR.api_key_id,
        request_id="request-1",
        operation=AuditOperation.CREATED,
        subject_kind=kind,
        subject_id=entity.id,
        user_id=user_id,
        changed_fields=(),
        version_before=None,
        version_after=version,
    )
    assert entry.id.version == 7
    assert entry.id.variant == new_id().variant


@pytest.mark.parametrize(
    ("fields", "changed"),
    [
        ({}, ()),
        ({"full_name": None}, ("full_name",)),
        ({"full_name": "x", "is_active": False}, ("full_name", "is_active")),
        ({"email": "x@example.org"}, ("email",)),
    ],
)
async def test_user_update_has_entry_with_changed_fields(
    storage: Storage, fields: dict[str, Any], changed: tuple[str, ...]
) -> None:
    user = make_user(is_active=True)
    await store(storage, user)
    await update(storage, next_version(user, **fields))
    entry = (await entries(storage))[-1]
    assert _summary(entry) == (AuditOperation.UPDATED, SubjectKind.USER, user.id, 1, 2)
    assert (entry.changed_fields, entry.user_id) == (changed, user.id)


@pytest.mark.parametrize("publishes", [False, True])
async def test_post_update_has_entry_with_changed_fields(storage: Storage, *, publishes: bool) -> None:
    post = make_post(AUTHOR, status=PostStatus.DRAFT)
    await store(storage, AUTHOR, post)
    changes = {"status": PostStatus.PUBLISHED, "published_at": PUBLISHED} if publishes else {"title": "x"}
    await update(storage, next_version(post, content="y", **changes), publishes=publishes)
    entry = (await entries(storage))[-1]
    assert _summary(entry) == (AuditOperation.UPDATED, SubjectKind.POST, post.id, 1, 2)
    assert entry.changed_fields == tuple(sorted(["content", *changes]))
    assert entry.user_id == AUTHOR.id


async def test_update_to_null_and_back_changes_the_field(storage: Storage) -> None:
    user = make_user(full_name=None)
    named = next_version(user, full_name="x")
    await store(storage, user)
    await update(storage, named)
    await update(storage, next_version(named, full_name=None))
    assert [entry.changed_fields for entry in await entries(storage)] == [(), ("full_name",), ("full_name",)]


async def test_failed_writes_leave_no_audit_entry(storage: Storage) -> None:
    user, post = make_user(), make_post(AUTHOR)
    await store(storage, AUTHOR, user, post)
    before = await entries(storage)
    rejected = [
        ("add", make_user(email=user.email), EmailAlreadyRegisteredError),
        ("update", next_version(user, email=AUTHOR.email), EmailAlreadyRegisteredError),
        ("update", replace(user, version=3), ConcurrentUpdateError),
        ("delete", replace(user, version=2), ConcurrentUpdateError),
        ("add", make_post(new_id()), AuthorNotFoundError),
        ("update", replace(post, version=3), ConcurrentUpdateError),
        ("delete", replace(post, version=2), ConcurrentUpdateError),
    ]
    for method, entity, error in rejected:
        with pytest.raises(error):
            async with storage.transaction() as work:
                await getattr(repository(work, entity), method)(entity)
    with pytest.raises(KeyError):
        async with storage.transaction() as work:
            await work.users.add(make_user())
            await work.users.list(limit=1)
            raise KeyError
    assert await entries(storage) == before


async def test_api_key_changes_have_one_entry_each(storage: Storage) -> None:
    key = make_api_key(expires_at=None)
    await store(storage, key)
    for _ in range(2):  # the second change has no effect
        async with storage.transaction(ACTOR) as work:
            await work.api_keys.set_expiry(key.id, at=EXPIRES)
        async with storage.transaction(ACTOR) as work:
            await work.api_keys.record_use(key.id, now=EXPIRES)
    for _ in range(2):
        async with storage.transaction(ACTOR) as work:
            await work.api_keys.revoke(key.id, now=REVOKED)
    with pytest.raises(ApiKeyNotFoundError):
        async with storage.transaction(ACTOR) as work:
            await work.api_keys.revoke(new_id(), now=REVOKED)
    found = await entries(storage)
    operations = [AuditOperation.CREATED, AuditOperation.ROTATED, AuditOperation.REVOKED]
    assert [_summary(entry) for entry in found] == [
        (operation, SubjectKind.API_KEY, key.id, None, None) for operation in operations
    ]
    assert [entry.changed_fields for entry in found] == [(), (), ()]


async def test_deletions_have_audit_entries(storage: Storage) -> None:
    post, kept = make_post(AUTHOR), make_post(AUTHOR)
    key, other_key = make_api_key(AUTHOR), make_api_key()
    await store(storage, AUTHOR, post, kept, key, other_key)
    async with storage.transaction(ACTOR) as work:
        await work.posts.delete(post)
    async with storage.transaction(PURGE_PRINCIPAL) as work:
        await work.users.delete(AUTHOR)
    deleted = [entry for entry in await entries(storage) if entry.operation is AuditOperation.DELETED]
    first, *others = [_summary(entry)[1:] for entry in deleted]
    assert first == (SubjectKind.POST, post.id, 1, None)
    assert sorted(others) == [  # entries of one statement can have the same time
        (SubjectKind.API_KEY, key.id, None, None),
        (SubjectKind.POST, kept.id, 1, None),
        (SubjectKind.USER, AUTHOR.id, 1, None),
    ]
    assert [entry.actor_kind for entry in deleted] == [ActorKind.API_KEY, *[ActorKind.PURGE] * 3]
    assert {entry.user_id for entry in deleted} == {AUTHOR.id}


async def test_purged_posts_have_audit_entries_of_the_purge(storage: Storage) -> None:
    old = {"created_at": utc_now() - DAY, "updated_at": utc_now() - DAY, "status": PostStatus.DRAFT}
    posts = [make_post(AUTHOR, **old) for _ in range(3)]
    await store(storage, AUTHOR, *posts)
    async with storage.transaction(PURGE_PRINCIPAL) as work:
        assert await work.posts.purge(status=PostStatus.DRAFT, unchanged_for=DAY / 2, limit=2) == 2
    purged = [entry for entry in await entries(storage) if entry.actor_kind is ActorKind.PURGE]
    assert [(entry.operation, entry.subject_kind) for entry in purged] == [
        (AuditOperation.DELETED, SubjectKind.POST)
    ] * 2
    assert {entry.subject_id for entry in purged} < {post.id for post in posts}


async def test_delete_of_a_user_erases_their_request_ids_only(storage: Storage) -> None:
    user, other = make_user(), make_user()
    async with storage.transaction(ACTOR) as work:
        for entity in (user, make_post(user), make_api_key(user), other, make_post(other), make_api_key()):
            await repository(work, entity).add(entity)
    async with storage.transaction(ACTOR) as work:
        await work.users.delete(user)
    found = await entries(storage)
    assert len(found) == 9
    assert {entry.request_id for entry in found if entry.user_id == user.id} == {None}
    assert {entry.request_id for entry in found if entry.user_id != user.id} == {"request-1"}
    assert {entry.actor_id for entry in found} == {ACTOR.api_key_id}


async def test_concurrent_posts_have_entries_of_their_own_actors(storage: Storage) -> None:
    await store(storage, AUTHOR)
    actors = [SYSTEM_PRINCIPAL.for_request(f"request-{number}") for number in range(40)]
    service = post_service(storage)

    async def create(actor: Principal) -> tuple[UUID, str | None]:
        post = await service.create(actor, author_id=AUTHOR.id, title="x", content="x")
        return post.id, actor.request_id

    expected = await asyncio.gather(*map(create, actors))
    found = [entry for entry in await entries(storage) if entry.subject_kind is SubjectKind.POST]
    assert sorted((entry.subject_id, entry.request_id) for entry in found) == sorted(expected)


async def test_audit_list_filters_and_pages_newest_first(storage: Storage) -> None:
    first, second = make_user(), make_user()
    async with storage.transaction(ACTOR) as work:
        await work.users.add(first)
    await store(storage, second)
    await update(storage, next_version(first, full_name="x"))
    oldest, middle, newest = await entries(storage)
    assert await entries(storage, subject_id=first.id) == [oldest, newest]
    assert await entries(storage, actor_id=ACTOR.api_key_id) == [oldest]
    assert await entries(storage, subject_id=second.id, actor_id=ACTOR.api_key_id) == []
    assert await entries(storage, after=newest.id) == [oldest, middle]
    async with storage.readonly() as work:
        assert list(await work.audit.list(limit=2)) == [newest, middle]


async def test_audit_purge_deletes_the_oldest_entries(storage: Storage) -> None:
    for _ in range(3):
        await store(storage, make_user())
    found = await entries(storage)
    for age, expected in ((DAY, 0), (-DAY, 2)):
        async with storage.transaction() as work:
            assert await work.audit.count_expired(older_than=age) == (3 if expected else 0)
            assert await work.audit.purge(older_than=age, limit=2) == expected
    assert await entries(storage) == found[2:]


async def test_concurrent_audit_purges_skip_the_entries_of_each_other(storage: Storage, at_once: AtOnce) -> None:
    for _ in range(3):
        await store(storage, make_user())

    async def purge() -> int:
        async with storage.transaction() as work:
            return await work.audit.purge(older_than=-DAY, limit=9)

    async with storage.transaction() as work:
        assert await work.audit.purge(older_than=-DAY, limit=2) == 2
        assert await at_once(purge()) == 1
    assert await entries(storage) == []
