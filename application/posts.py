"""Use cases of posts."""

from collections.abc import Container
from dataclasses import dataclass, field
from typing import Unpack
from uuid import UUID

from application.authorization import Principal
from application.idempotency import Created, IdempotentRequest, create_once
from application.optimistic_locking import VersionedUpdate, require_expected_version
from application.pagination import Page
from application.ports import Clock, NewId, Storage, UnitOfWork
from application.search import SearchPosition
from application.transactions import RetryPolicy, readonly, transactional
from domain.api_keys import Scope
from domain.posts import AuthorNotFoundError, NewPost, Post, PostChanges, PostNotFoundError, PostStatus, normalize_query
from domain.search_tokens import parse_query


@dataclass(frozen=True, slots=True, kw_only=True)
class PostService:
    """Use cases of posts.

    Every use case raises ForbiddenError if the principal lacks the required scope. A principal that is bound to a user
    can access that user's posts and read published posts of other users.
    """

    storage: Storage
    clock: Clock
    new_id: NewId
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    async def create(self, principal: Principal, **fields: Unpack[NewPost]) -> Post:
        """Create a post. Raises FieldValidationError, AuthorNotFoundError, and AuthorInactiveError."""
        return (await self.create_once(principal, None, **fields)).value

    async def create_once(
        self, principal: Principal, once: IdempotentRequest[Post] | None, **fields: Unpack[NewPost]
    ) -> Created[Post]:
        """Create a post, or return the post that an earlier execution of the same request created.

        Raises the errors of `create` and of `IdempotencyRepository.add`.
        """
        principal.require_scopes(Scope.POSTS_WRITE)
        if principal.cannot_see(fields["author_id"]):
            raise AuthorNotFoundError
        post = Post.create(id=self.new_id(), now=self.clock(), **fields)
        return await create_once(
            self, principal, once, post, lambda work: work.posts.add(post), subject_id=post.author_id
        )

    @readonly
    async def get(self, work: UnitOfWork, principal: Principal, post_id: UUID) -> Post:
        """Return a post. Raises PostNotFoundError."""
        principal.require_scopes(Scope.POSTS_READ)
        return await work.posts.get(post_id, reader_id=principal.user_id)

    @readonly
    async def list(
        self,
        work: UnitOfWork,
        principal: Principal,
        *,
        limit: int,
        after: UUID | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
    ) -> Page[Post]:
        """Return a page of at most `limit` posts, newest first, below the ID `after`.

        `author_id` and `status` select posts with these values.
        """
        principal.require_scopes(Scope.POSTS_READ)
        posts = await work.posts.list(
            limit=limit + 1, after=after, author_id=author_id, status=status, reader_id=principal.user_id
        )
        return Page.from_rows(posts, limit)

    @readonly
    async def search(
        self,
        work: UnitOfWork,
        principal: Principal,
        query: str,
        *,
        limit: int,
        after: SearchPosition | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
    ) -> Page[Post]:
        """Return a page of at most `limit` posts that contain every search term of the query, after a position.

        Matches in titles rank first, and newer posts before older ones. The filters are those of `list`. Raises
        FieldValidationError if the query is blank or longer than 200 characters.
        """
        principal.require_scopes(Scope.POSTS_READ)
        hits = await work.posts.search(
            parse_query(normalize_query(query)),
            limit=limit + 1,
            after=after,
            author_id=author_id,
            status=status,
            reader_id=principal.user_id,
        )
        next_after = hits[limit - 1].position if len(hits) > limit else None
        return Page(items=[hit.post for hit in hits[:limit]], next_after=next_after)

    async def update(
        self,
        principal: Principal,
        post_id: UUID,
        *,
        expected: Container[int] | None = None,
        **changes: Unpack[PostChanges],
    ) -> Post:
        """Update a post and return it. Omitted fields keep their values; a no-op update does not change the version.

        Raises PostNotFoundError, VersionMismatchError if the version is not an `expected` one, FieldValidationError,
        InvalidStatusTransitionError, and AuthorInactiveError if the update publishes a post of an inactive author.
        """
        principal.require_scopes(Scope.POSTS_WRITE)
        return await self._update(principal, post_id, VersionedUpdate(expected, self.clock()), changes)

    @transactional
    async def _update(
        self, work: UnitOfWork, principal: Principal, post_id: UUID, update: VersionedUpdate, changes: PostChanges
    ) -> Post:
        post = await work.posts.get(post_id, author_id=principal.user_id)
        update.check_version(post)
        changed = post.update(now=update.now, **changes)
        if changed is not post:
            update.check_write(changed, work)
            publishes = changed.status is PostStatus.PUBLISHED and changed.status is not post.status
            await work.posts.update(changed, publishes=publishes)
        return changed

    @transactional
    async def delete(
        self, work: UnitOfWork, principal: Principal, post_id: UUID, *, expected: Container[int] | None = None
    ) -> None:
        """Delete a post.

        Raises PostNotFoundError, and VersionMismatchError if the version is not an `expected` one.
        """
        principal.require_scopes(Scope.POSTS_WRITE)
        try:
            post = await work.posts.get(post_id, author_id=principal.user_id)
        except PostNotFoundError:
            if work.lost_commits:
                return
            raise
        require_expected_version(post, expected)
        await work.posts.delete(post)
