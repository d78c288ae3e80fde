"""What is stored, the rules of each write, and how one unit of work sees it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from uuid import UUID

from application.ports import ConcurrentChangeError
from domain.email import email_key
from domain.posts import Post
from domain.users import EmailAlreadyRegisteredError, User


@dataclass(slots=True)
class Tables:
    """The users and the posts by id, and the ids of the users by e-mail key."""

    users: dict[UUID, User] = field(default_factory=dict)
    user_ids: dict[str, UUID] = field(default_factory=dict)
    posts: dict[UUID, Post] = field(default_factory=dict)

    def copy(self) -> "Tables":
        """Return tables that can be written to without changing these."""
        return Tables(users=self.users.copy(), user_ids=self.user_ids.copy(), posts=self.posts.copy())

    def replace_by(self, other: "Tables") -> None:
        """Hold what the other tables hold."""
        self.users, self.user_ids, self.posts = other.users, other.user_ids, other.posts

    def add_user(self, user: User) -> None:
        """See `UserRepository.add`."""
        if user.id not in self.users:
            self._put_user(user)

    def update_user(self, user: User) -> None:
        """See `UserRepository.update`."""
        before = self.require_user(user.id, user.version - 1)
        del self.user_ids[email_key(before.email)]
        self._put_user(user)

    def remove_user(self, user: User) -> None:
        """See `UserRepository.remove`."""
        stored = self.require_user(user.id, user.version)
        del self.users[user.id]
        del self.user_ids[email_key(stored.email)]
        self.posts = {id_: post for id_, post in self.posts.items() if post.author_id != user.id}

    def require_user(self, user_id: UUID, version: int) -> User:
        """Return the user in this version. Raises ConcurrentChangeError when there is none, or another."""
        user = self.users.get(user_id)
        if user is None or user.version != version:
            raise ConcurrentChangeError
        return user

    def require_post(self, post_id: UUID, version: int) -> None:
        """Raise ConcurrentChangeError unless the post is there in this version."""
        post = self.posts.get(post_id)
        if post is None or post.version != version:
            raise ConcurrentChangeError

    def _put_user(self, user: User) -> None:
        if self.user_ids.setdefault(email_key(user.email), user.id) != user.id:
            raise EmailAlreadyRegisteredError
        self.users[user.id] = user


class View:
    """The tables as one unit of work sees them: what is committed, and over it the writes that still wait."""

    def __init__(self, tables: Tables, *, readonly: bool = False) -> None:
        self._stored = tables
        self._readonly = readonly
        self._writes: list[Callable[[Tables], None]] = []

    def tables(self) -> Tables:
        """Return what a read sees now."""
        return self._written() if self._writes else self._stored

    def write(self, change: Callable[[Tables], None]) -> None:
        """Keep a write until `commit`, where it may raise."""
        if self._readonly:
            raise RuntimeError("This unit of work only reads.")
        self._writes.append(change)

    def commit(self) -> None:
        """Make the writes that wait, or, when one of them raises, none."""
        if self._writes:
            self._stored.replace_by(self._written())

    def _written(self) -> Tables:
        tables = self._stored.copy()
        for change in self._writes:
            change(tables)
        return tables
