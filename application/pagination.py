"""Keyset pagination (M. Winand, use-the-index-luke.com, "No Offset")."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar
from uuid import UUID

from application.search import SearchPosition


class HasId(Protocol):
    """An entity that pages are sorted by: its ID defines the order."""

    @property
    def id(self) -> UUID:
        """The ID."""


T = TypeVar("T", bound=HasId)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page(Generic[T]):
    """Items in order, and the ID or position after which the next page starts, None on the last page."""

    items: Sequence[T]
    next_after: UUID | SearchPosition | None

    @classmethod
    def from_rows(cls, rows: Sequence[T], limit: int) -> "Page[T]":
        """Return a page of the first `limit` items. A further item means that a next page exists."""
        items = rows[:limit]
        return cls(items=items, next_after=items[-1].id if len(rows) > limit else None)
