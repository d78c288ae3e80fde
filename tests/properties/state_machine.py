"""A state machine that runs the same use cases over several storages and compares the results."""

import asyncio
from collections.abc import Collection, Coroutine, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from adapters.clock import new_id
from adapters.memory.unit_of_work import InMemoryStorage
from application.api_keys import ApiKeyService, CreatedApiKey
from application.authorization import SYSTEM_PRINCIPAL
from application.idempotency import Created
from application.pagination import Page
from application.ports import Storage
from application.posts import PostService
from application.retention import RetentionService
from application.search import SearchPosition
from application.users import UserService
from domain.api_keys import ApiKey, Scope
from domain.errors import DomainError
from domain.posts import Post, PostStatus
from domain.users import User
from tests.support.database_fixture import DatabaseFixture
from tests.support.factories import a_request, stored_api_keys, stored_posts, stored_users
from tests.support.service_factories import LENIENT_RETRY, START, key_service, post_service, ticking_clock, user_service

SPELLINGS = ["zo\u00eb@b\u00fccher.example", "ZOE\u0308@xn--bcher-kva.example"]
EMAILS = st.sampled_from(["ada@example.org", "ADA@Example.org", *SPELLINGS, "no", "b@b.cd"])
NAMES = st.sampled_from([None, "Ada", " Ada ", "", "\U0001f989" * 200, "x" * 201])
TITLES = st.sampled_from(["T", " T", "U\u0308", "", "x" * 200, "x" * 201])
CONTENTS = st.sampled_from(["C", "C\r\nD", "C\nD", "\0", "\U0001f989" * 2000])
QUERIES = st.sampled_from(["t", "u\u0308", "D c", "T X", "t*", "\u6771", "\U0001f989" * 200, "!", "", "x" * 200])
EXPECTED = st.sampled_from([None, None, (1,), (2,), (3,), (1, 2), ()])
STATUSES = st.sampled_from(PostStatus)
SCOPES = st.sets(st.sampled_from(Scope), max_size=3)
REQUEST_NAMES = st.sampled_from([b"1" * 32, b"2" * 32])
FINGERPRINTS = st.sampled_from([b"a" * 32, b"a" * 32, b"b" * 32])
TTLS = st.sampled_from([timedelta(), timedelta(days=1)])
LIMITS = st.integers(min_value=1, max_value=4)


@dataclass(frozen=True)
class StorageUnderTest:
    """A storage with services that use the ids and times of the state machine."""

    name: str
    storage: Storage
    users: UserService
    posts: PostService
    keys: ApiKeyService
    retention: RetentionService


def _update_rule(service: str, ids: Bundle[UUID], **fields: st.SearchStrategy[Any]) -> Any:
    """Return a rule that updates some of the fields of an entity."""

    @rule(id_=ids, changes=st.fixed_dictionaries({}, optional=fields), expected=EXPECTED)
    def update(
        self: "StorageEquivalence", id_: UUID, changes: dict[str, Any], expected: Collection[int] | None
    ) -> None:
        self.compare(lambda side: getattr(side, service).update(SYSTEM_PRINCIPAL, id_, expected=expected, **changes))

    return update


def _get_and_delete_rules(service: str, ids: Bundle[UUID], others: Bundle[UUID]) -> tuple[Any, Any]:
    """Return a rule that reads an entity or an id of the `others`, and a rule that deletes an entity."""

    @rule(id_=ids | others)
    def get(self: "StorageEquivalence", id_: UUID) -> None:
        self.compare(lambda side: getattr(side, service).get(SYSTEM_PRINCIPAL, id_))

    @rule(id_=consumes(ids), expected=EXPECTED)
    def delete(self: "StorageEquivalence", id_: UUID, expected: Collection[int] | None) -> None:
        self.compare(lambda side: getattr(side, service).delete(SYSTEM_PRINCIPAL, id_, expected=expected))

    return get, delete


class StorageEquivalence(RuleBasedStateMachine):
    """Runs each use case over all storages, and compares the results and the stored entities."""

    runner: ClassVar[asyncio.Runner]
    stores: ClassVar[list[DatabaseFixture]]

    people = Bundle("people")
    texts = Bundle("texts")
    keys = Bundle("keys")

    @initialize()
    def start(self) -> None:
        self.id = new_id()
        storages: dict[str, Storage] = {"memory": InMemoryStorage()}
        for store in self.stores:
            store.clear()
            storages[store.database.driver.name] = store.storage
        self.sides = [self._under_test(name, storage) for name, storage in storages.items()]

    def _under_test(self, name: str, storage: Storage) -> StorageUnderTest:
        now = ticking_clock()
        return StorageUnderTest(
            name=name,
            storage=storage,
            users=user_service(storage, ids=lambda: self.id, now=now),
            posts=post_service(storage, ids=lambda: self.id, now=now),
            keys=replace(key_service(storage, ids=lambda: self.id, now=now), generate_secret=lambda: "s" * 32),
            retention=RetentionService(storage=storage, retry=LENIENT_RETRY, batch_size=1),
        )

    def compare(self, use_case: Any) -> Any:
        """Return the result of the use case, or its error. It must be the same for all storages."""
        results = self.runner.run(_results([use_case(side) for side in self.sides]))
        for side, result in zip(self.sides[1:], results[1:], strict=True):
            assert result == results[0], f"{side.name} returns {result}, memory returns {results[0]}"
        return results[0]

    def create(self, use_case: Any, again: bool = False) -> Any:
        """Return the id of the entity that the use case creates, with a new id or `again` the last id."""
        self.id = self.id if again else new_id()
        result = self.compare(use_case)
        if isinstance(result, Created):
            result = result.value
        if isinstance(result, CreatedApiKey):
            return result.key.id
        return result.id if isinstance(result, User | Post) else multiple()

    @rule(target=people, again=st.booleans(), email=EMAILS, full_name=NAMES, is_active=st.booleans())
    def create_user(self, again: bool, **fields: Any) -> Any:
        return self.create(lambda side: side.users.create(SYSTEM_PRINCIPAL, **fields), again)

    update_user = _update_rule("users", people, email=EMAILS, full_name=NAMES, is_active=st.booleans())
    update_post = _update_rule("posts", texts, title=TITLES, content=CONTENTS, status=STATUSES)
    get_user, delete_user = _get_and_delete_rules("users", people, texts)
    get_post, delete_post = _get_and_delete_rules("posts", texts, people)

    @rule(limit=LIMITS, after=st.none() | people, email=st.none() | EMAILS, is_active=st.none() | st.booleans())
    def list_users(self, **page: Any) -> None:
        self.compare(lambda side: side.users.list(SYSTEM_PRINCIPAL, **page))

    @rule(target=texts, author_id=people, title=TITLES, content=CONTENTS, status=STATUSES)
    def create_post(self, **fields: Any) -> Any:
        return self.create(lambda side: side.posts.create(SYSTEM_PRINCIPAL, **fields))

    @rule(limit=LIMITS, after=st.none() | texts, author_id=st.none() | people, status=st.none() | STATUSES)
    def list_posts(self, **page: Any) -> None:
        self.compare(lambda side: side.posts.list(SYSTEM_PRINCIPAL, **page))

    @rule(
        query=QUERIES,
        reader_id=st.none() | people,
        limit=LIMITS,
        after=st.none() | st.builds(SearchPosition, in_title=st.booleans(), id=texts),
        author_id=st.none() | people,
        status=st.none() | STATUSES,
    )
    def search(self, query: str, reader_id: UUID | None, **page: Any) -> None:
        reader = replace(SYSTEM_PRINCIPAL, user_id=reader_id)
        self.compare(lambda side: side.posts.search(reader, query, **page))

    @rule(reader_id=people, post_id=texts, limit=LIMITS, after=st.none() | texts, author_id=st.none() | people)
    def read_as_user(self, reader_id: UUID, post_id: UUID, **page: Any) -> None:
        reader = replace(SYSTEM_PRINCIPAL, user_id=reader_id)
        self.compare(lambda side: side.posts.get(reader, post_id))
        self.compare(lambda side: side.posts.list(reader, **page))
        self.compare(lambda side: side.posts.update(reader, post_id, status=PostStatus.PUBLISHED))

    @rule(target=keys, again=st.booleans(), name=TITLES, scopes=SCOPES, user_id=st.none() | people)
    def create_key(self, again: bool, **fields: Any) -> Any:
        return self.create(lambda side: side.keys.create(SYSTEM_PRINCIPAL, **fields), again)

    @rule(target=keys, key_id=keys, in_seconds=st.integers(min_value=-9, max_value=99))
    def rotate(self, key_id: UUID, in_seconds: int) -> Any:
        until = START + timedelta(seconds=in_seconds)
        return self.create(lambda side: side.keys.rotate(SYSTEM_PRINCIPAL, key_id, until=until))

    @rule(key_id=keys | people)
    def revoke(self, key_id: UUID) -> None:
        self.compare(lambda side: side.keys.revoke(SYSTEM_PRINCIPAL, key_id))

    @rule(limit=LIMITS, after=st.none() | keys)
    def list_keys(self, **page: Any) -> None:
        self.compare(lambda side: side.keys.list(SYSTEM_PRINCIPAL, **page))

    @rule(target=people, email=EMAILS, key=keys, key_hash=REQUEST_NAMES, fingerprint=FINGERPRINTS, ttl=TTLS)
    def create_user_once(self, email: str, **request: Any) -> Any:
        return self.create(lambda side: side.users.create_once(SYSTEM_PRINCIPAL, a_request(**request), email=email))

    @rule()
    def purge(self) -> None:
        self.compare(lambda side: side.retention.purge())

    @invariant()
    def storages_are_equal_and_have_no_orphans(self) -> None:
        users, posts, keys = self.compare(_stored)
        ids = {user.id for user in users}
        assert {post.author_id for post in posts} <= ids
        assert {key.user_id for key in keys} <= ids | {None}


async def _stored(side: StorageUnderTest) -> tuple[list[User], list[Post], list[ApiKey]]:
    return await stored_users(side.storage), await stored_posts(side.storage), await stored_api_keys(side.storage)


async def _results(use_cases: Sequence[Coroutine[Any, Any, Any]]) -> list[Any]:
    return await asyncio.gather(*map(_result, use_cases))


async def _result(use_case: Coroutine[Any, Any, Any]) -> Any:
    try:
        result = await use_case
    except DomainError as error:
        return type(error), str(error)
    if isinstance(result, Page):
        return list(result.items), result.next_after
    return result
