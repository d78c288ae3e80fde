"""Factories of entities, and functions that store and read them.

A factory sets every field of its entity to a value that no forgotten mapping can produce by chance. Tests make entities
with factories only, so a new field needs an edit here and in no test.
"""

import pickle
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from inspect import signature
from itertools import count
from types import SimpleNamespace
from typing import Any, TypeVar, get_args, get_type_hints
from uuid import UUID

from adapters.clock import new_id
from application.idempotency import IdempotencyRecord, IdempotencyRecordErasedError, IdempotentRequest
from application.ports import Storage, UnitOfWork
from domain.api_keys import ApiKey, ApiKeyHash, Scope
from domain.posts import Post, PostStatus
from domain.users import User

T = TypeVar("T")

_SEAL: Any = SimpleNamespace(seal=pickle.dumps, unseal=pickle.loads)  # serializes results, without encryption

CREATED = datetime(2031, 5, 17, 23, 59, 58, 123_457, tzinfo=UTC)
UPDATED = datetime(2032, 2, 29, 0, 0, 1, 1, tzinfo=UTC)
PUBLISHED = datetime(2031, 12, 31, 22, 1, 2, 999_999, tzinfo=UTC)
USED = datetime(2031, 8, 9, 10, 11, 12, 131_415, tzinfo=UTC)
REVOKED = datetime(2033, 3, 4, 5, 6, 7, 890_123, tzinfo=UTC)
EXPIRES = datetime(2034, 5, 6, 7, 8, 9, 12_345, tzinfo=UTC)
TTL = timedelta(days=2, seconds=3, microseconds=4)

_numbers = count(1)


def make_user(**fields: Any) -> User:
    """Return a unique new user with these fields."""
    number = next(_numbers)
    user = User(
        id=new_id(),
        email=f"Zoë.{number}+Ω@Bücher.example",
        full_name=f"Zoë 🦉 Ωmega-ß {number}",
        is_active=True,
        created_at=CREATED,
        updated_at=UPDATED,
        version=1,
    )
    return replace(user, **fields)


def make_post(author: User | UUID, **fields: Any) -> Post:
    """Return a unique new post with these fields. A draft has no time of publication."""
    number = next(_numbers)
    post = Post(
        id=new_id(),
        author_id=author.id if isinstance(author, User) else author,
        title=f"Über {number} 🦉",
        content=f"first\n\tsecond 'line' \"%s\" %(x)s $1 :y {number} \\",
        status=PostStatus.PUBLISHED,
        published_at=None if fields.get("status") is PostStatus.DRAFT else PUBLISHED,
        created_at=CREATED,
        updated_at=UPDATED,
        version=1,
    )
    return replace(post, **fields)


def make_api_key(user: User | None = None, **fields: Any) -> ApiKey:
    """Return a unique new active API key with these fields, bound to the user if there is a user."""
    key_id = fields.get("id") or new_id()
    key = ApiKey(
        id=key_id,
        name=f"Schlüssel {next(_numbers)} 🦉",
        scopes=frozenset({Scope.USERS_WRITE, Scope.POSTS_READ}),
        user_id=None if user is None else user.id,
        secret_hash=ApiKeyHash(pepper=7, digest=bytes(range(224, 256))),
        family_id=key_id,
        family_secret=bytes(range(192, 224)),
        created_at=CREATED,
        expires_at=EXPIRES,
        last_used_at=USED,
        revoked_at=None,
    )
    return replace(key, **fields)


def make_idempotency_record(key: ApiKey | UUID, **fields: Any) -> IdempotencyRecord:
    """Return a unique idempotency record of a request with the API key, with these fields."""
    outcome = IdempotencyRecord(
        api_key_id=key.id if isinstance(key, ApiKey) else key,
        key_hash=next(_numbers).to_bytes(32),
        fingerprint=bytes(range(128, 160)),
        response=b"\0sealed\xff\\x41",
        subject_id=None,
        ttl=TTL,
    )
    return replace(outcome, **fields)


def created(constructor: Callable[..., T], example: Any, **arguments: Any) -> T:
    """Call the constructor of an entity. The example has the values of all other arguments."""
    parameters = signature(constructor).parameters
    (fields,) = get_args(parameters["fields"].annotation)  # Unpack[NewUser] of `**fields`
    names = {*parameters, *get_type_hints(fields)} - {"fields", *arguments}
    return constructor(**{name: getattr(example, name) for name in names}, **arguments)


def values(example: Any, names: Iterable[str]) -> dict[str, Any]:
    """Return these fields of an entity."""
    return {name: getattr(example, name) for name in names}


def next_version(entity: Any, **fields: Any) -> Any:
    """Return the next version of the entity with these fields."""
    return replace(entity, **fields, version=entity.version + 1, updated_at=entity.updated_at + timedelta(seconds=1))


def repository(work: UnitOfWork, entity: Any) -> Any:
    """Return the repository of this entity."""
    return {User: work.users, Post: work.posts, ApiKey: work.api_keys, IdempotencyRecord: work.idempotency}[
        type(entity)
    ]


def a_request(key: ApiKey | UUID, **fields: Any) -> IdempotentRequest[Any]:
    """Return an idempotent request with the API key and with these fields."""
    key_id = key.id if isinstance(key, ApiKey) else key
    request: IdempotentRequest[Any] = IdempotentRequest(
        api_key_id=key_id,
        key_hash=bytes(range(32)),
        fingerprint=bytes(range(128, 160)),
        ttl=timedelta(days=1),
        seal=_SEAL,
    )
    return replace(request, **fields)


async def store(storage: Storage, *entities: Any) -> IdempotencyRecord | None:
    """Store entities. Stop at an idempotency record that replays an earlier one, and return the earlier one."""
    async with storage.transaction() as work:
        for entity in entities:
            earlier: IdempotencyRecord | None = await repository(work, entity).add(entity)
            if earlier is not None:
                return earlier
    return None


store_users = store_posts = store_api_keys = store


async def update(storage: Storage, entity: Any, **arguments: Any) -> None:
    async with storage.transaction() as work:
        await repository(work, entity).update(entity, **arguments)


async def delete(storage: Storage, *entities: Any) -> None:
    async with storage.transaction() as work:
        for entity in entities:
            await repository(work, entity).delete(entity)


async def stored_users(storage: Storage) -> list[User]:
    async with storage.readonly() as work:
        return list(await work.users.list(limit=1000))


async def stored_posts(storage: Storage) -> list[Post]:
    async with storage.readonly() as work:
        return list(await work.posts.list(limit=1000))


async def stored_api_keys(storage: Storage) -> list[ApiKey]:
    async with storage.readonly() as work:
        return list(await work.api_keys.list(limit=1000))


class _ExecutedError(Exception):
    """The repeated request is executed."""


async def replay_error(
    storage: Storage, outcome: IdempotencyRecord
) -> IdempotencyRecord | type[IdempotencyRecordErasedError] | None:
    """Repeat the request of the record. Return the stored record, the error, or None if the request is executed."""
    try:
        async with storage.transaction() as work:
            earlier = await work.idempotency.add(replace(outcome, response=b"that of a repetition"))
            if earlier is None:
                raise _ExecutedError  # noqa: TRY301 - it rolls the unit of work back
            return earlier
    except IdempotencyRecordErasedError:
        return IdempotencyRecordErasedError
    except _ExecutedError:
        return None


def newest_first(entities: Iterable[Any]) -> list[Any]:
    return sorted(entities, key=lambda entity: entity.id, reverse=True)
