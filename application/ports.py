"""What the use cases need of the world. The docstrings are the specification: every adapter is tested against them.

Time and ids are plain callables: `Clock` returns the present time, aware, in UTC; `NewId` returns a UUIDv7 (RFC 9562
section 5.7) greater than every one it returned before, so that the order of ids is the order of creation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from uuid import UUID

from application.idempotency import Outcome
from application.search import Hit, Place
from domain.keys import ApiKey
from domain.posts import Post, PostStatus
from domain.users import User

Clock = Callable[[], datetime]
NewId = Callable[[], UUID]


class TransientError(Exception):
    """The storage failed in a way that may be gone at the next attempt. Nothing is known to be stored."""


class StorageUnavailableError(TransientError):
    """The storage cannot be reached, or broke off."""


class AcknowledgementLostError(StorageUnavailableError):
    """The storage broke off while it was to make a unit of work last: whether it did is not known."""


class StorageSilentError(StorageUnavailableError):
    """The storage took the question and did not answer in time; whoever asks again would wait as long."""


class StorageOverloadedError(TransientError):
    """The storage has no room for one more unit of work now, or worked on one for too long."""


class ConcurrentChangeError(TransientError):
    """Something that was read was changed by someone else before the write that builds upon it."""


class OutcomeUnknownError(Exception):
    """Whether a change was made cannot be found out any more: others have changed the same thing since."""


class UserRepository(ABC):
    """The users, as one unit of work sees them."""

    @abstractmethod
    async def get(self, user_id: UUID) -> User:
        """Return the user with this id. Raises UserNotFoundError."""

    @abstractmethod
    async def find_by_email(self, email: str) -> User | None:
        """Return the user whose address has the same `email_key`, None when there is none."""

    @abstractmethod
    async def list(self, *, limit: int, after: UUID | None = None, is_active: bool | None = None) -> Sequence[User]:
        """Return up to `limit` users, newest first: in descending order of id.

        With `after` only those with a smaller id, whether or not that user still exists; with `is_active` only those
        that are, or are not, active.
        """

    @abstractmethod
    async def add(self, user: User) -> None:
        """Store a new user; one with this id that is there already stays as it is, and that is no error.

        Ids are made once for each call of a use case, so such a user is the echo of an attempt whose acknowledgement
        was lost. Raises EmailAlreadyRegisteredError when another user has an address with the same `email_key`.
        """

    @abstractmethod
    async def update(self, user: User) -> None:
        """Store the next version of a user.

        Raises ConcurrentChangeError unless the stored version is `user.version - 1`, and EmailAlreadyRegisteredError
        when another user has an address with the same `email_key`.
        """

    @abstractmethod
    async def remove(self, user: User) -> None:
        """Erase the user, all posts by that user, the API keys bound to them, and the answers kept about them.

        Raises ConcurrentChangeError unless the stored version is `user.version`.
        """


class PostRepository(ABC):
    """The posts, as one unit of work sees them."""

    @abstractmethod
    async def get(self, post_id: UUID, *, author_id: UUID | None = None, reader_id: UUID | None = None) -> Post:
        """Return the post with this id. Raises PostNotFoundError.

        With `author_id` only if it is by that author; with `reader_id` only if that user can read it, because it is
        published or their own.
        """

    @abstractmethod
    async def list(
        self,
        *,
        limit: int,
        after: UUID | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
        reader_id: UUID | None = None,
    ) -> Sequence[Post]:
        """Return up to `limit` posts, newest first: in descending order of id.

        With `after` only those with a smaller id, whether or not that post still exists; with `author_id` only that
        author's, with `status` only those in that status; with `reader_id` only those that this user can read, because
        they are published or their own.
        """

    @abstractmethod
    async def search(
        self,
        words: Collection[str],
        *,
        limit: int,
        after: Place | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
        reader_id: UUID | None = None,
    ) -> Sequence[Hit]:
        """Return up to `limit` posts whose title and content together hold every one of these words.

        `domain.words.words_of` says what the words of a text are, in every adapter alike, except for characters that
        are newer than an adapter's Unicode. No post is found by no words, and none by words unless `can_find`.

        Posts whose title alone holds every word come first, then the rest; both newest first: in descending order of
        id. With `after` only those that come behind that place, whether or not a post still stands there; one that is
        changed between two pages can come to stand in another place, and so be seen twice or not at all.
        The filters are those of `list`.
        """

    @abstractmethod
    async def add(self, post: Post) -> None:
        """Store a new post; one with this id that is there already stays as it is, and that is no error.

        Raises what `require_author` raises of the user with the id `post.author_id`. That user stays as it is until
        the unit of work ends.
        """

    @abstractmethod
    async def update(self, post: Post, *, publishes: bool = False) -> None:
        """Store the next version of a post.

        Raises ConcurrentChangeError unless the stored version is `post.version - 1`. When the change publishes the
        post, the author is required and held as for `add`.
        """

    @abstractmethod
    async def remove(self, post: Post) -> None:
        """Remove the post. Raises ConcurrentChangeError unless the stored version is `post.version`."""


class ApiKeyRepository(ABC):
    """The API keys, as one unit of work sees them."""

    @abstractmethod
    async def get(self, key_id: UUID) -> ApiKey:
        """Return the key with this id. Raises ApiKeyNotFoundError."""

    @abstractmethod
    async def list(self, *, limit: int, after: UUID | None = None) -> Sequence[ApiKey]:
        """Return up to `limit` keys, newest first: in descending order of id.

        With `after` only those with a smaller id.
        """

    @abstractmethod
    async def add(self, key: ApiKey) -> None:
        """Store a new key; one with this id that is there already stays as it is, and that is no error.

        Raises KeyUserNotFoundError when it is bound to a user who does not exist.
        """

    @abstractmethod
    async def revoke(self, key_id: UUID, *, now: datetime) -> None:
        """Have the key be `revoked(now)`. Raises ApiKeyNotFoundError."""

    @abstractmethod
    async def end(self, key_id: UUID, *, at: datetime) -> None:
        """Have the key be `ending(at)`. Raises ApiKeyNotFoundError, also for one that is revoked."""

    @abstractmethod
    async def note_use(self, key_id: UUID, *, now: datetime) -> None:
        """Have the key be `used(now)`; one that is not there is no error."""


class OutcomeRepository(ABC):
    """The outcomes of requests that are carried out once, as one unit of work sees them."""

    @abstractmethod
    async def add(self, outcome: Outcome) -> Outcome | None:
        """Store a record, and return None. An expired record of the same request is replaced.

        If the stored record has not expired, store nothing and return `earlier_execution` of it, which may raise.
        Raises IdempotencyInFlightError if a different unit of work that has not ended added a record of the same
        request, and UnauthenticatedError if the API key was deleted with its user since it was authenticated.
        """

    @abstractmethod
    async def purge(self, *, now: datetime, limit: int) -> int:
        """Remove up to `limit` outcomes that have expired, the oldest first, and return how many these were.

        Those that another unit of work is at are left alone.
        """

    @abstractmethod
    async def first_expiry(self) -> datetime | None:
        """Return when the first of all outcomes expires, or has expired; None when there are none."""


class UnitOfWork:
    """Reads and writes that belong together.

    A read sees what was committed before it, and the writes made before it in the same unit of work. A write may be
    sent late: its error is raised by the write itself, by a later call, or at the latest when the unit of work ends.
    """

    lost: int = 0
    """The number of earlier attempts of the same use case whose commit result is unknown. Each may be stored."""

    def __init__(
        self, *, users: UserRepository, posts: PostRepository, keys: ApiKeyRepository, outcomes: OutcomeRepository
    ) -> None:
        self.users = users
        self.posts = posts
        self.keys = keys
        self.outcomes = outcomes


class Storage(ABC):
    """Where units of work come from."""

    @abstractmethod
    def transaction(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Return a unit of work whose writes are stored all, when the block ends, or not at all, when it raises.

        Raises a TransientError when that attempt failed for a reason that may pass, and AcknowledgementLostError when
        its writes may be stored nevertheless.
        """

    @abstractmethod
    def readonly(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Return a unit of work that only reads; to write in it is an error of programming, a RuntimeError.

        Each read sees what was committed before it; two reads may see different states.
        """
