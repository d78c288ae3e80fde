"""The rows that are served: the same ones at every run."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

Row = dict[str, Any]
"""A row of a table, by column."""

SEED = 20_260_101
FIRST_MOMENT = datetime(2026, 1, 1, 0, 0, 0, 123_457, tzinfo=UTC)
"""Microseconds that are not zero keep one spelling of every time."""

_PROLIFIC_OF = 4
_INACTIVE_OF = 50
_TOPIC_POSTS = 40
_LETTERS = str.maketrans("0123456789", "abcdefghij")
_STATUSES = ("draft", "published", "published", "archived")
_PROSE = (
    "a letter river table morning service garden stone paper window quiet answer early number yellow small walk "
    "between follow always under light paint glass harbour winter"
)
_WORDS = _PROSE.split()


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """Users and posts, both in the order of their ids.

    Every fourth user is prolific: all the posts are by these, evenly, so that the posts of one author lie far apart.
    """

    users: Sequence[Row]
    posts: Sequence[Row]

    @property
    def prolific(self) -> Sequence[Row]:
        """The users who have posts."""
        return self.users[::_PROLIFIC_OF]

    @property
    def writers(self) -> Sequence[Row]:
        """Active users without posts, who create new ones."""
        return [user for number, user in enumerate(self.users) if number % _PROLIFIC_OF and user["is_active"]]

    @property
    def inactive(self) -> Row:
        """A user who cannot write posts."""
        return next(user for user in self.users if not user["is_active"])

    @property
    def editable(self) -> Sequence[Row]:
        """The users with version 1, who are updated."""
        return [user for user in self.users if user["version"] == 1]

    @property
    def topics(self) -> Sequence[str]:
        """Search queries of three words, each with about 40 matches."""
        return [topic(number) for number in range(topic_count(len(self.posts)))]

    def newest_posts(self, author: Row) -> list[Row]:
        """Return all posts by the author, the newest first."""
        return [post for post in reversed(self.posts) if post["author_id"] == author["id"]]

    def newest_posts_about(self, query: str) -> list[Row]:
        """Return all posts about one of the topics, the newest first."""
        return [post for post in reversed(self.posts) if query in post["content"]]


def generated(*, users: int, posts: int) -> Dataset:
    chance = random.Random(SEED)  # noqa: S311 - the same rows at every run
    people = [_user(chance, number) for number in range(users)]
    prolific = people[::_PROLIFIC_OF]
    texts = [" ".join(chance.choices(_WORDS, k=55)).capitalize() + "." for _ in range(500)]
    topics = topic_count(posts)
    written = [
        _post(
            chance,
            number,
            author=prolific[number % len(prolific)],
            text=f"{texts[number % len(texts)]} About {topic(number % topics)}.",
        )
        for number in range(posts)
    ]
    return Dataset(users=people, posts=written)


def topic_count(posts: int) -> int:
    return max(1, posts // _TOPIC_POSTS)


def topic(number: int) -> str:
    """Return three words that only the posts about this topic contain."""
    name = str(number).translate(_LETTERS)
    return f"amber{name} birch{name} cedar{name}"


def shown(row: Row) -> Row:
    """Return the row as JSON shows it."""
    return {name: _shown(value) for name, value in row.items()}


def _shown(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, UUID) else value


def _user(chance: random.Random, number: int) -> Row:
    created = FIRST_MOMENT + timedelta(seconds=number)
    is_changed = number % 3 == 0
    return {
        "id": _id(chance, created),
        "email": f"user.{number:06d}@example.org",
        "full_name": None if number % 7 == 0 else f"{chance.choice(_WORDS)} {chance.choice(_WORDS)}".title(),
        "is_active": number % _INACTIVE_OF != _INACTIVE_OF - 1,
        "created_at": created,
        "updated_at": created + timedelta(hours=1) if is_changed else created,
        "version": 2 if is_changed else 1,
    }


def _post(chance: random.Random, number: int, *, author: Row, text: str) -> Row:
    created = FIRST_MOMENT + timedelta(days=30, seconds=number)
    status = _STATUSES[number % 7 % len(_STATUSES)]
    return {
        "id": _id(chance, created),
        "author_id": author["id"],
        "title": f"{text[:40].strip()} {number}",
        "content": text,
        "status": status,
        "published_at": None if status == "draft" else created,
        "created_at": created,
        "updated_at": created,
        "version": 1,
    }


def _id(chance: random.Random, moment: datetime) -> UUID:
    """Return a UUIDv7 (RFC 9562 section 5.7) of that millisecond."""
    milliseconds = int(moment.timestamp() * 1000)
    high = milliseconds << 16 | 0x7000 | chance.getrandbits(12)
    return UUID(int=high << 64 | 0b10 << 62 | chance.getrandbits(62))
