"""Posts in memory."""

from collections.abc import Callable, Collection, Iterator, Sequence
from datetime import timedelta
from heapq import nlargest
from uuid import UUID

from typing_extensions import override

from adapters.memory.tables import InMemoryRepository, Tables, newest, require_version
from application.ports import PostRepository
from application.search import SearchHit, SearchPosition
from domain.audit import AuditOperation
from domain.posts import Post, PostNotFoundError, PostStatus, require_active_author
from domain.search_tokens import contains_all, tokenize


class InMemoryPostRepository(InMemoryRepository, PostRepository):
    """Stores posts in memory."""

    @override
    async def get(self, post_id: UUID, *, author_id: UUID | None = None, reader_id: UUID | None = None) -> Post:
        post = self._view.tables().posts.get(post_id)
        if post is None or author_id not in {None, post.author_id} or not _is_readable(post, reader_id):
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
        return newest(self._filter(author_id, status, reader_id), limit=limit, after=after)

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
        if not terms:
            return []
        found = (
            SearchHit(post=post, in_title=contains_all(tokenize(post.title), terms))
            for post in self._filter(author_id, status, reader_id)
            if contains_all(tokenize(post.text), terms)
        )
        later = (hit for hit in found if after is None or _rank(hit.position) < _rank(after))
        return nlargest(limit, later, key=lambda hit: _rank(hit.position))

    @override
    async def add(self, post: Post) -> None:
        def write(tables: Tables) -> None:
            if post.id not in tables.posts:
                require_active_author(tables.users.get(post.author_id))
                tables.posts[post.id] = post
                self._view.add_audit_entry(tables, AuditOperation.CREATED, None, post)

        self._view.write(write)

    @override
    async def update(self, post: Post, *, publishes: bool = False) -> None:
        def write(tables: Tables) -> None:
            before = require_version(tables.posts.get(post.id), post.version - 1)
            if publishes:
                require_active_author(tables.users.get(post.author_id))
            tables.posts[post.id] = post
            self._view.add_audit_entry(tables, AuditOperation.UPDATED, before, post)

        self._view.write(write)

    @override
    async def delete(self, post: Post) -> None:
        def write(tables: Tables) -> None:
            stored = require_version(tables.posts.get(post.id), post.version)
            del tables.posts[post.id]
            self._view.add_audit_entry(tables, AuditOperation.DELETED, stored, None)

        self._view.write(write)

    @override
    async def purge(self, *, status: PostStatus, unchanged_for: timedelta, limit: int) -> int:
        return self._view.purge(
            lambda tables: tables.posts,
            self._expiry(status, unchanged_for),
            age=lambda post: post.created_at,
            limit=limit,
            on_purge=lambda tables, post: self._view.add_audit_entry(tables, AuditOperation.DELETED, post, None),
        )

    @override
    async def count_expired(self, *, status: PostStatus, unchanged_for: timedelta) -> int:
        is_expired = self._expiry(status, unchanged_for)
        return sum(map(is_expired, self._view.tables().posts.values()))

    def _expiry(self, status: PostStatus, unchanged_for: timedelta) -> Callable[[Post], bool]:
        latest = self._view.clock() - unchanged_for
        return lambda post: post.status is status and post.updated_at <= latest

    def _filter(self, author_id: UUID | None, status: PostStatus | None, reader_id: UUID | None) -> Iterator[Post]:
        for post in self._view.tables().posts.values():
            if author_id in {None, post.author_id} and status in {None, post.status} and _is_readable(post, reader_id):
                yield post


def _rank(position: SearchPosition) -> tuple[bool, UUID]:
    return position.in_title, position.id


def _is_readable(post: Post, reader_id: UUID | None) -> bool:
    return post.status is PostStatus.PUBLISHED or reader_id in {None, post.author_id}
