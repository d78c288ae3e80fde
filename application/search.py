"""Search results: their order and their pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.posts import Post


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPosition:
    """The position of a post in search results: matches in the title first, then newest first."""

    in_title: bool
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchHit:
    """A post in search results. `in_title` is its rank: True if the title contains all tokens."""

    post: Post
    in_title: bool

    @property
    def position(self) -> SearchPosition:
        """The position of the post in the results."""
        return SearchPosition(in_title=self.in_title, id=self.post.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPage:
    """Posts in order, and the position after which the next page starts, None on the last page."""

    items: Sequence[Post]
    next_after: SearchPosition | None

    @classmethod
    def from_hits(cls, hits: Sequence[SearchHit], limit: int) -> "SearchPage":
        """Return a page of the first `limit` hits. A further hit means that a next page exists."""
        return cls(
            items=[hit.post for hit in hits[:limit]],
            next_after=hits[limit - 1].position if len(hits) > limit else None,
        )
