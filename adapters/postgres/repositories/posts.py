"""Posts in PostgreSQL."""

from collections.abc import Collection, Sequence
from datetime import timedelta
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, bindparam, case, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert
from typing_extensions import override

from adapters.postgres.coalescing import CoalescedStatement
from adapters.postgres.models import POSTS, USERS
from adapters.postgres.repositories.audit import ACTOR, with_entry
from adapters.postgres.repositories.post_search import (
    MAPPER,
    READABLE,
    TOKENS,
    PostFilter,
    has_status,
    list_statement,
    search_statement,
    to_tsquery,
    to_tsvector,
)
from adapters.postgres.repositories.users import SqlAlchemyUserRepository
from adapters.postgres.session import PgRepository, raise_concurrent_update
from application.ports import ConcurrentUpdateError, PostRepository
from application.search import SearchHit, SearchPosition
from domain.audit import AuditOperation
from domain.posts import Post, PostNotFoundError, PostStatus, require_active_author
from domain.users import UserNotFoundError


def _active_author(author_id: ColumnElement[UUID], *, skip_locked: bool = False) -> Select[Any]:
    """Return a query for an active author, locked against changes until the end of the transaction."""
    author = select(USERS.c.id).where(USERS.c.id == author_id, USERS.c.is_active)
    return author.with_for_update(read=True, skip_locked=skip_locked)


_AUTHOR = _active_author(bindparam("author_id"))
_NEW = select(MAPPER.parameter_rows(*ACTOR)).cte("new")
# A wait for a locked author would delay the other posts.
_NEW_VALUES = {name: to_tsvector(_NEW.c[name]) if name in TOKENS else _NEW.c[name] for name in POSTS.c.keys()}  # noqa: SIM118
_NEW_BY_ACTIVE_AUTHORS = select(*_NEW_VALUES.values()).where(
    _active_author(_NEW.c.author_id, skip_locked=True).exists()
)
_KEY = [POSTS.c.author_id, POSTS.c.id]
_ADD = CoalescedStatement(
    one=with_entry(
        MAPPER.insert_where(_AUTHOR.exists()).on_conflict_do_nothing(index_elements=_KEY), AuditOperation.CREATED
    ),
    many=with_entry(
        insert(POSTS)
        .from_select(list(_NEW_VALUES), _NEW_BY_ACTIVE_AUTHORS)
        .on_conflict_do_nothing(index_elements=_KEY),
        AuditOperation.CREATED,
        actors=_NEW,
    ),
    key="id",
    is_write=True,
)
_UNCHANGED = and_(POSTS.c.title == bindparam("title"), POSTS.c.content == bindparam("content"))
# An update of the same text keeps the stored tokens. New ones are equal, but the comparison of their compressed bytes
# would find a difference, and the update would write all indexes.
_CHANGE = MAPPER.update_version().values(
    {name: case((_UNCHANGED, POSTS.c[name]), else_=tokens) for name, tokens in TOKENS.items()}
)
_CHANGED_FIELDS = MAPPER.changed_fields()
_UPDATE = with_entry(_CHANGE, AuditOperation.UPDATED, changed_fields=_CHANGED_FIELDS)
_PUBLISH = with_entry(
    _CHANGE.where(POSTS.c.author_id == _AUTHOR.scalar_subquery()),
    AuditOperation.UPDATED,
    changed_fields=_CHANGED_FIELDS,
)
_DELETE = with_entry(MAPPER.delete_version(), AuditOperation.DELETED)


_GET = MAPPER.select_by_id()


def _is_expired(status: PostStatus) -> ColumnElement[bool]:
    return and_(has_status(status), MAPPER.unchanged())


@cache
def _purge(status: PostStatus) -> ReturningInsert[Any]:
    return with_entry(MAPPER.delete_expired(_is_expired(status), POSTS.c.created_at), AuditOperation.DELETED)


@cache
def _count_expired(status: PostStatus) -> Select[Any]:
    return MAPPER.count(_is_expired(status))


@cache
def _get(*, author_id: bool, reader_id: bool) -> Select[Any]:
    statement = MAPPER.select().where(POSTS.c.id == bindparam("id"))
    if author_id:
        statement = statement.where(POSTS.c.author_id == bindparam("author_id"))
    if reader_id:
        statement = statement.where(READABLE)
    return statement


class SqlAlchemyPostRepository(PgRepository, PostRepository):
    """Stores posts in PostgreSQL."""

    @override
    async def get(self, post_id: UUID, *, author_id: UUID | None = None, reader_id: UUID | None = None) -> Post:
        post = await self._find(post_id, author_id, reader_id)
        if post is None:
            raise PostNotFoundError
        return post

    @override
    async def list(
        self,
        *,
        limit: int,
        after: UUID | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
        reader_id: UUID | None = None,
    ) -> Sequence[Post]:
        choice = PostFilter(author_id, status, reader_id).simplify()
        if choice is None:
            return []
        rows = await self._session.fetch(
            list_statement(after=after is not None, **choice.statement_arguments()),
            {"limit": limit, "after": after, **choice._asdict()},
        )
        return [MAPPER.entity(row) for row in rows]

    @override
    async def search(
        self,
        terms: Collection[str],
        *,
        limit: int,
        after: SearchPosition | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
        reader_id: UUID | None = None,
    ) -> Sequence[SearchHit]:
        choice = PostFilter(author_id, status, reader_id).simplify()
        if choice is None or not terms:
            return []
        rows = await self._session.fetch(
            search_statement(after=after and after.in_title, **choice.statement_arguments()),
            {"query": to_tsquery(terms), "limit": limit, "after": after and after.id, **choice._asdict()},
        )
        return [SearchHit(post=MAPPER.entity(row[:-1]), in_title=row[-1]) for row in rows]

    @override
    async def add(self, post: Post) -> None:
        async def raise_cause() -> None:
            if await self._find(post.id) is None:
                await self._require_author(post)
                raise ConcurrentUpdateError

        self._session.write(_ADD, MAPPER.values(post) | self.actor_values, on_no_row=raise_cause)

    @override
    async def update(self, post: Post, *, publishes: bool = False) -> None:
        async def raise_cause() -> None:
            stored = await self._find(post.id)
            if stored is not None and stored.version == post.version - 1:
                await self._require_author(post)
            raise ConcurrentUpdateError

        values = MAPPER.values(post) | MAPPER.stored(post, post.version - 1) | self.actor_values
        if publishes:
            self._session.write(_PUBLISH, values, on_no_row=raise_cause)
        else:
            self._session.write(_UPDATE, values, on_no_row=raise_concurrent_update)

    @override
    async def delete(self, post: Post) -> None:
        parameters = MAPPER.stored(post, post.version) | self.actor_values
        self._session.write(_DELETE, parameters, on_no_row=raise_concurrent_update)

    @override
    async def purge(self, *, status: PostStatus, unchanged_for: timedelta, limit: int) -> int:
        parameters = {"unchanged_for": unchanged_for, "limit": limit} | self.actor_values
        return len(await self._session.fetch(_purge(status), parameters, writes=True))

    @override
    async def count_expired(self, *, status: PostStatus, unchanged_for: timedelta) -> int:
        return int(await self._fetch_value(_count_expired(status), unchanged_for=unchanged_for))

    async def _find(self, post_id: UUID, author_id: UUID | None = None, reader_id: UUID | None = None) -> Post | None:
        if author_id is None and reader_id is None:
            rows = await self._session.fetch(_GET, {"id": post_id})
        else:
            statement = _get(author_id=author_id is not None, reader_id=reader_id is not None)
            rows = await self._session.fetch(statement, {"id": post_id, "author_id": author_id, "reader_id": reader_id})
        return MAPPER.entity(rows[0]) if rows else None

    async def _require_author(self, post: Post) -> None:
        try:
            author = await SqlAlchemyUserRepository(self._session).get(post.author_id)
        except UserNotFoundError:
            author = None
        require_active_author(author)
