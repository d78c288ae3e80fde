"""Search results and their order."""

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
    """A post in search results. `in_title` is its rank: True if the title contains all terms."""

    post: Post
    in_title: bool

    @property
    def position(self) -> SearchPosition:
        """The position of the post in the results."""
        return SearchPosition(in_title=self.in_title, id=self.post.id)
