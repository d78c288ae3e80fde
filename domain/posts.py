"""Posts and their lifecycle: draft -> published <-> archived."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import NotRequired, TypedDict, Unpack
from uuid import UUID

from domain.errors import DomainError, ErrorKind, FieldValidationError, ReferenceNotFoundError
from domain.text_rules import normalize_text
from domain.users import User

MAX_TITLE_LENGTH = 200
"""Code points."""
MAX_CONTENT_LENGTH = 2000
"""Code points."""
MAX_QUERY_LENGTH = 200
"""Code points."""


class PostStatus(StrEnum):
    """The lifecycle status of a post."""

    DRAFT = "draft"
    PUBLISHED = "published"
    ARCHIVED = "archived"


INITIAL_STATUSES = frozenset({PostStatus.DRAFT, PostStatus.PUBLISHED})
"""The statuses of a new post."""

ALLOWED_TRANSITIONS = {
    PostStatus.DRAFT: frozenset({PostStatus.PUBLISHED}),
    PostStatus.PUBLISHED: frozenset({PostStatus.ARCHIVED}),
    PostStatus.ARCHIVED: frozenset({PostStatus.PUBLISHED}),
}
"""The statuses to which each status can change."""


class PostNotFoundError(DomainError):
    """No post has this ID."""

    code = "post-not-found"
    kind = ErrorKind.NOT_FOUND
    message = "No post has this ID."


class AuthorNotFoundError(ReferenceNotFoundError):
    """The author of a post does not exist."""

    code = "author-not-found"
    message = "The author does not exist."

    def __init__(self) -> None:
        super().__init__("author_id", "No user has this ID.")


class AuthorInactiveError(DomainError):
    """The author of a post is inactive."""

    code = "author-inactive"
    kind = ErrorKind.CONFLICT
    message = "The author is inactive. Only active users can create and publish posts."


class InvalidStatusTransitionError(DomainError):
    """The status of a post cannot change to the requested one."""

    code = "invalid-transition"
    kind = ErrorKind.CONFLICT
    message = "The status cannot change to the requested one."

    def __init__(self, before: PostStatus, after: PostStatus) -> None:
        allowed = ", ".join(sorted(ALLOWED_TRANSITIONS[before]))
        super().__init__(f"Cannot change status from {before} to {after}. Allowed: {allowed}.")


class NewPost(TypedDict):
    """The fields from which a post is created. By default `status` is draft."""

    author_id: UUID
    title: str
    content: str
    status: NotRequired[PostStatus]


class PostChanges(TypedDict, total=False):
    """The fields of a post that an update can change. Omitted fields keep their values."""

    title: str
    content: str
    status: PostStatus


normalize_title = partial(normalize_text, field="title", max_length=MAX_TITLE_LENGTH)
"""Return the trimmed title. Raises FieldValidationError unless it is one line of 1-200 characters."""
normalize_content = partial(normalize_text, field="content", max_length=MAX_CONTENT_LENGTH, multiline=True)
r"""Return the trimmed text with `\n` line breaks. Raises FieldValidationError unless it has 1-2,000 characters."""
normalize_query = partial(normalize_text, field="q", max_length=MAX_QUERY_LENGTH)
"""Return the trimmed search query. Raises FieldValidationError unless it is one line of 1-200 characters."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Post:
    """A text by one author.

    `published_at` is the time of the first publication, None before it. `version` starts at 1 and increases by 1 with
    each change. Times are aware, in UTC.
    """

    id: UUID
    author_id: UUID
    title: str
    content: str
    status: PostStatus
    published_at: datetime | None
    created_at: datetime
    updated_at: datetime
    version: int

    @property
    def text(self) -> str:
        """The title and the content, for search."""
        return f"{self.title} {self.content}"

    @classmethod
    def create(cls, *, id: UUID, now: datetime, **fields: Unpack[NewPost]) -> "Post":
        """Return a new post, which is a draft or published.

        Raises FieldValidationError for an invalid title or content, and for a status in which no post starts.
        """
        status = fields.get("status", PostStatus.DRAFT)
        if status not in INITIAL_STATUSES:
            raise FieldValidationError("status", "A new post must be draft or published.")
        return cls(
            id=id,
            author_id=fields["author_id"],
            title=normalize_title(fields["title"]),
            content=normalize_content(fields["content"]),
            status=status,
            published_at=now if status is PostStatus.PUBLISHED else None,
            created_at=now,
            updated_at=now,
            version=1,
        )

    def update(self, *, now: datetime, **changes: Unpack[PostChanges]) -> "Post":
        """Return the next version of the post, or the post itself if the changes have no effect.

        Raises InvalidStatusTransitionError, and FieldValidationError for an invalid title or content.
        """
        if "title" in changes:
            changes["title"] = normalize_title(changes["title"])
        if "content" in changes:
            changes["content"] = normalize_content(changes["content"])
        after = replace(self, **changes)
        if after == self:
            return self
        if after.status not in {self.status, *ALLOWED_TRANSITIONS[self.status]}:
            raise InvalidStatusTransitionError(self.status, after.status)
        published_at = self.published_at or (now if after.status is PostStatus.PUBLISHED else None)
        return replace(
            after,
            published_at=published_at,
            updated_at=max(now, self.updated_at),
            version=self.version + 1,
        )


def require_active_author(user: User | None) -> None:
    """Raise AuthorNotFoundError if the user is None, AuthorInactiveError if the user is inactive."""
    if user is None:
        raise AuthorNotFoundError
    if not user.is_active:
        raise AuthorInactiveError
