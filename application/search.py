"""Posts that were found by words: how they are ordered, and their pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from domain.posts import Post


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a post stands among those found: first those whose title holds every word, then the rest; newest first."""

    in_title: bool
    id: UUID


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A post that was found. `in_title` is its rank: whether the title alone holds every word."""

    post: Post
    in_title: bool

    @property
    def place(self) -> Place:
        """Where it stands among those found."""
        return Place(in_title=self.in_title, id=self.post.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundPage:
    """Some posts in order, and the place after which the next page starts: None on the last page."""

    items: Sequence[Post]
    next_after: Place | None

    @classmethod
    def cut(cls, hits: Sequence[Hit], limit: int) -> "FoundPage":
        """Return a page of the first `limit` hits; one more than that tells that another page follows."""
        return cls(
            items=[hit.post for hit in hits[:limit]],
            next_after=hits[limit - 1].place if len(hits) > limit else None,
        )
