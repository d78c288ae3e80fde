"""Keyset pages: the next page starts where this one ends (M. Winand, use-the-index-luke.com, "No Offset")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from uuid import UUID


class Identified(Protocol):
    """Something with an id that gives it its place in the order."""

    @property
    def id(self) -> UUID:
        """The id."""


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Some items in order, and the id after which the next page starts: None on the last page."""

    items: Sequence[T]
    next_after: UUID | None

    @classmethod
    def cut(cls, found: Sequence[T], limit: int) -> "Page[T]":
        """Return a page of the first `limit` of what was found; one more than that tells that another page follows."""
        items = found[:limit]
        return cls(items=items, next_after=items[-1].id if len(found) > limit else None)
