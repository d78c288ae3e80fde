"""Use cases of posts."""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Unpack
from uuid import UUID

from application.access import Caller
from application.idempotency import Created, Once, Outcome, created, outcome_of
from application.pages import Page
from application.ports import Clock, NewId, Storage, UnitOfWork
from application.search import FoundPage, Place
from application.transactions import Retry, readonly, transactional
from application.versions import Revision, require_version
from domain.api_keys import Scope
from domain.posts import AuthorNotFoundError, NewPost, Post, PostChanges, PostNotFoundError, PostStatus, normalize_query
from domain.search_tokens import tokenize


@dataclass(frozen=True, slots=True, kw_only=True)
class PostService:
    """Use cases of posts.

    Every use case raises ForbiddenError if the principal lacks the required scope. A principal that is bound to a user
    can access that user's posts and read published posts of other users.
    """

    storage: Storage
    now: Clock
    new_id: NewId
    retry: Retry = field(default_factory=Retry)

    async def write(self, caller: Caller, **fields: Unpack[NewPost]) -> Post:
        """Create a post. Raises FieldValidationError, AuthorNotFoundError, and AuthorInactiveError."""
        return (await self.create_once(caller, None, **fields)).value

    async def create_once(self, caller: Caller, once: Once[Post] | None, **fields: Unpack[NewPost]) -> Created[Post]:
        """Create a post, or return the post that an earlier execution of the same request created.

        Raises the errors of `write` and of `OutcomeRepository.add`.
        """
        caller.require(Scope.POSTS_WRITE)
        if caller.is_kept_from(fields["author_id"]):
            raise AuthorNotFoundError
        post = Post.create(id=self.new_id(), now=self.now(), **fields)
        earlier = await self._add(post, outcome_of(once, post, subject_id=post.author_id, now=post.created_at))
        return created(post, once, earlier)

    @transactional
    async def _add(self, work: UnitOfWork, post: Post, outcome: Outcome | None) -> Outcome | None:
        earlier = None if outcome is None else await work.outcomes.add(outcome)
        if earlier is None:
            await work.posts.add(post)
        return earlier

    @readonly
    async def get(self, work: UnitOfWork, caller: Caller, post_id: UUID) -> Post:
        """Return a post. Raises PostNotFoundError."""
        caller.require(Scope.POSTS_READ)
        return await work.posts.get(post_id, reader_id=caller.user_id)

    @readonly
    async def list(
        self,
        work: UnitOfWork,
        caller: Caller,
        *,
        limit: int,
        after: UUID | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
    ) -> Page[Post]:
        """Return a page of at most `limit` posts, newest first, below the ID `after`.

        `author_id` and `status` select posts with these values.
        """
        caller.require(Scope.POSTS_READ)
        posts = await work.posts.list(
            limit=limit + 1, after=after, author_id=author_id, status=status, reader_id=caller.user_id
        )
        return Page.cut(posts, limit)

    @readonly
    async def search(
        self,
        work: UnitOfWork,
        caller: Caller,
        query: str,
        *,
        limit: int,
        after: Place | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
    ) -> FoundPage:
        """Return a page of at most `limit` posts that contain every search token of the query, after a position.

        Matches in titles rank first, and newer posts before older ones. The filters are those of `list`. Raises
        FieldValidationError if the query is blank or longer than 200 characters.
        """
        caller.require(Scope.POSTS_READ)
        hits = await work.posts.search(
            tokenize(normalize_query(query)),
            limit=limit + 1,
            after=after,
            author_id=author_id,
            status=status,
            reader_id=caller.user_id,
        )
        return FoundPage.cut(hits, limit)

    async def revise(
        self, caller: Caller, post_id: UUID, *, expected: Collection[int] | None = None, **changes: Unpack[PostChanges]
    ) -> Post:
        """Update a post and return it. Omitted fields keep their values; a no-op update does not change the version.

        Raises PostNotFoundError, VersionMismatchError if the version is not an `expected` one, FieldValidationError,
        InvalidStatusTransitionError, and AuthorInactiveError if the update publishes a post of an inactive author.
        """
        caller.require(Scope.POSTS_WRITE)
        return await self._revise(post_id, caller.user_id, Revision(expected, self.now()), changes)

    @transactional
    async def _revise(
        self, work: UnitOfWork, post_id: UUID, author_id: UUID | None, revision: Revision, changes: PostChanges
    ) -> Post:
        post = await work.posts.get(post_id, author_id=author_id)
        revision.check(post)
        revised = post.update(now=revision.now, **changes)
        if revised is not post:
            revision.make(revised, work)
            publishes = revised.status is PostStatus.PUBLISHED and revised.status is not post.status
            await work.posts.update(revised, publishes=publishes)
        return revised

    @transactional
    async def remove(
        self, work: UnitOfWork, caller: Caller, post_id: UUID, *, expected: Collection[int] | None = None
    ) -> None:
        """Delete a post.

        Raises PostNotFoundError, and VersionMismatchError if the version is not an `expected` one.
        """
        caller.require(Scope.POSTS_WRITE)
        try:
            post = await work.posts.get(post_id, author_id=caller.user_id)
        except PostNotFoundError:
            if work.lost:
                return
            raise
        require_version(post, expected)
        await work.posts.remove(post)
