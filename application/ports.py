"""The ports. Their docstrings are the specification: the contract suite tests every adapter against them.

`Clock` returns the current time, aware, in UTC. `NewId` returns a UUIDv7 (RFC 9562 section 5.7) that is greater than
all earlier ones, so that the order of IDs is the order of creation.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING
from uuid import UUID

from application.authorization import SYSTEM_PRINCIPAL, Principal
from application.search import SearchHit, SearchPosition
from domain.api_keys import ApiKey
from domain.audit import AuditEntry, ErasureReceipt
from domain.posts import Post, PostStatus
from domain.users import User

if TYPE_CHECKING:
    from application.idempotency import IdempotencyRecord

Clock = Callable[[], datetime]
NewId = Callable[[], UUID]


class TransientStorageError(Exception):
    """The storage failed, and a retry may succeed. No write is known to be stored."""


class StorageUnavailableError(TransientStorageError):
    """The storage is unreachable, or the connection was lost."""

    lost_connection: object = None
    """The lost connection, None if no connection was open."""


class CommitResultUnknownError(StorageUnavailableError):
    """The connection was lost during a commit. The writes may or may not be stored."""


class StorageFailedError(StorageUnavailableError):
    """The storage reported that it cannot work, such as a full disk. A retry would fail as well."""


class CommitFailedError(StorageFailedError, CommitResultUnknownError):
    """The storage failed during a commit. The writes may or may not be stored."""


class StorageTimeoutError(StorageUnavailableError):
    """The storage accepted a statement and did not respond in time. A retry would take as long."""


class StorageBusyError(TransientStorageError):
    """The connection pool is exhausted, or a statement exceeded its time limit."""


class ConcurrentUpdateError(TransientStorageError):
    """A concurrent unit of work changed an entity between the read and the write of this one."""


class CommitResultUnresolvableError(Exception):
    """The result of a commit is unknown and cannot be determined, because the entity was changed again since."""


class UserRepository(ABC):
    """The users in one unit of work."""

    @abstractmethod
    async def get(self, user_id: UUID) -> User:
        """Return the user with this ID. Raises UserNotFoundError."""

    @abstractmethod
    async def find_by_email(self, email: str) -> User | None:
        """Return the user whose address has the same `normalize_email`, or None."""

    @abstractmethod
    async def list(self, *, limit: int, after: UUID | None = None, is_active: bool | None = None) -> Sequence[User]:
        """Return up to `limit` users, newest first: in descending order of ID.

        `after` selects users with a smaller ID. A user with the ID `after` does not have to exist. `is_active` selects
        active or inactive users.
        """

    @abstractmethod
    async def add(self, user: User) -> None:
        """Store a new user. Do nothing if a user with this ID exists.

        Such a user was stored by an earlier attempt of the same use case whose commit result is unknown, because IDs
        are created once per call. Raises EmailAlreadyRegisteredError if a different user has an address with the same
        `normalize_email`.
        """

    @abstractmethod
    async def update(self, user: User) -> None:
        """Store the next version of a user.

        Raises ConcurrentUpdateError unless the stored version is `user.version - 1`, and EmailAlreadyRegisteredError
        if a different user has an address with the same `normalize_email`.
        """

    @abstractmethod
    async def delete(self, user: User) -> None:
        """Delete a user, their posts, the API keys bound to them, and the idempotent results that concern them.

        Store the receipt of the erasure, unless a user with this ID was erased before.

        Raises ConcurrentUpdateError unless the stored version is `user.version`.
        """

    @abstractmethod
    async def find_expired(self, *, unchanged_for: timedelta) -> User | None:
        """Return the oldest expired user, locked against changes until the unit of work ends, or None.

        An inactive user expires when their last change is `unchanged_for` ago, by the clock of the storage. Users that
        a different unit of work has locked are skipped.
        """

    @abstractmethod
    async def count_expired(self, *, unchanged_for: timedelta) -> int:
        """Return the number of expired users, as in `find_expired`."""


class PostRepository(ABC):
    """The posts in one unit of work."""

    @abstractmethod
    async def get(self, post_id: UUID, *, author_id: UUID | None = None, reader_id: UUID | None = None) -> Post:
        """Return the post with this ID. Raises PostNotFoundError.

        With `author_id`, the post must be by that author. With `reader_id`, it must be readable by that user: published
        or by that user.
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
        """Return up to `limit` posts, newest first: in descending order of ID.

        `after` selects posts with a smaller ID. A post with the ID `after` does not have to exist. `author_id` and
        `status` select posts with these values. `reader_id` selects posts that this user can read: published posts and
        their own.
        """

    @abstractmethod
    async def search(
        self,
        terms: Collection[str],
        *,
        limit: int,
        after: SearchPosition | None = None,
        author_id: UUID | None = None,
        status: PostStatus | None = None,
        reader_id: UUID | None = None,
    ) -> Sequence[SearchHit]:
        """Return up to `limit` posts whose title and content together contain all of these search terms.

        `domain.search_tokens` defines the tokens of a text, the terms of a query, and when a text contains a term.
        Without terms the result is empty.

        Posts whose title contains all terms come first. Both groups are in descending order of ID. `after` selects
        posts after that position, at which a post does not have to exist. A post that changes between two pages can
        move to a different position: it then appears twice or not at all. The filters are those of `list`.
        """

    @abstractmethod
    async def add(self, post: Post) -> None:
        """Store a new post. Do nothing if a post with this ID exists.

        Raises the errors of `require_active_author` for the user with the ID `post.author_id`. That user is locked
        against changes until the unit of work ends.
        """

    @abstractmethod
    async def update(self, post: Post, *, publishes: bool = False) -> None:
        """Store the next version of a post.

        Raises ConcurrentUpdateError unless the stored version is `post.version - 1`. If the change publishes the post,
        the author is checked and locked as in `add`.
        """

    @abstractmethod
    async def delete(self, post: Post) -> None:
        """Delete a post. Raises ConcurrentUpdateError unless the stored version is `post.version`."""

    @abstractmethod
    async def purge(self, *, status: PostStatus, unchanged_for: timedelta, limit: int) -> int:
        """Delete up to `limit` expired posts with this status, the oldest first, and return their number.

        A post expires when its last change is `unchanged_for` ago, by the clock of the storage. Posts that a different
        unit of work has locked are skipped.
        """

    @abstractmethod
    async def count_expired(self, *, status: PostStatus, unchanged_for: timedelta) -> int:
        """Return the number of expired posts with this status, as in `purge`."""


class ApiKeyRepository(ABC):
    """The API keys in one unit of work."""

    @abstractmethod
    async def get(self, key_id: UUID) -> ApiKey:
        """Return the key with this ID. Raises ApiKeyNotFoundError."""

    @abstractmethod
    async def now(self) -> datetime:
        """Return the time of the storage, which decides when a key expires."""

    @abstractmethod
    async def get_with_time(self, key_id: UUID) -> tuple[ApiKey, datetime]:
        """Return the key with this ID, and the time of the storage, which decides if the key has expired.

        Raises ApiKeyNotFoundError.
        """

    @abstractmethod
    async def list(self, *, limit: int, after: UUID | None = None, user_id: UUID | None = None) -> Sequence[ApiKey]:
        """Return up to `limit` keys, newest first: in descending order of ID. `after` selects smaller IDs.

        `user_id` selects the keys that are bound to this user.
        """

    @abstractmethod
    async def add(self, key: ApiKey) -> None:
        """Store a new key. Do nothing if a key with this ID exists.

        Raises ApiKeyUserNotFoundError if it is bound to a user who does not exist.
        """

    @abstractmethod
    async def revoke(self, key_id: UUID, *, now: datetime) -> None:
        """Apply `ApiKey.revoke`. Raises ApiKeyNotFoundError."""

    @abstractmethod
    async def set_expiry(self, key_id: UUID, *, at: datetime) -> None:
        """Apply `ApiKey.expire_at`. Raises ApiKeyNotFoundError, also for a revoked key."""

    @abstractmethod
    async def record_use(self, key_id: UUID, *, now: datetime) -> None:
        """Apply `ApiKey.record_use`. Do nothing if the key does not exist."""


class IdempotencyRepository(ABC):
    """The idempotency records in one unit of work.

    The clock of the storage decides when a record expires, because the clocks of the processes can differ.
    """

    @abstractmethod
    async def add(self, record: "IdempotencyRecord") -> "IdempotencyRecord | None":
        """Store a record, and return None. An expired record of the same request is replaced.

        If the stored record has not expired, store nothing and return `earlier_execution` of it, which may raise.
        Raises IdempotencyInFlightError if a different unit of work that has not ended added a record of the same
        request, and UnauthenticatedError if the API key was deleted with its user since it was authenticated.
        """

    @abstractmethod
    async def purge(self, *, limit: int) -> int:
        """Delete up to `limit` expired records, the oldest first, and return their number.

        Records that a different unit of work has locked are skipped.
        """

    @abstractmethod
    async def count_expired(self) -> int:
        """Return the number of expired records."""

    @abstractmethod
    async def purge_lag(self) -> timedelta:
        """Return the age of the oldest expired record, zero if no record has expired."""


class AuditRepository(ABC):
    """The audit entries and erasure receipts in one unit of work.

    The other repositories add one entry for each user, post and API key that they add, update, delete, revoke or let
    expire, together with the change itself. A write without an effect adds no entry, and neither does the time of the
    last use of a key. An entry names the actor of the unit of work, has the time of the storage, and no values of
    fields. `UserRepository.delete` removes the request IDs of all entries that concern the user.
    """

    @abstractmethod
    async def list(
        self,
        *,
        limit: int,
        after: UUID | None = None,
        subject_id: UUID | None = None,
        actor_id: UUID | None = None,
        user_id: UUID | None = None,
    ) -> Sequence[AuditEntry]:
        """Return up to `limit` entries, newest first: in descending order of ID.

        `after` selects entries with a smaller ID. The other arguments select entries with these values.
        """

    @abstractmethod
    async def purge(self, *, older_than: timedelta, limit: int) -> int:
        """Delete up to `limit` entries of this age, the oldest first, and return their number.

        Entries that a different unit of work has locked are skipped.
        """

    @abstractmethod
    async def count_expired(self, *, older_than: timedelta) -> int:
        """Return the number of entries of this age, as in `purge`."""

    @abstractmethod
    async def get_erasure(self, user_id: UUID) -> ErasureReceipt:
        """Return the receipt that `UserRepository.delete` stored. Raises ErasureNotFoundError."""


@dataclass(eq=False, kw_only=True)
class UnitOfWork:
    """Reads and writes that belong together.

    A read returns committed data and the earlier writes of the same unit of work. A write may be sent late: the write
    itself, a later call or the end of the unit of work raises its error.
    """

    users: UserRepository
    posts: PostRepository
    api_keys: ApiKeyRepository
    idempotency: IdempotencyRepository
    audit: AuditRepository
    lost_commits: int = 0
    """The number of earlier attempts of the same use case whose commit result is unknown. Each may be stored."""
    has_lost_connection: bool = False
    """True if an earlier attempt of the same use case lost its connection. Its transaction may not have ended."""

    async def end_connections(self, lost: Sequence[object]) -> None:
        """End the `lost_connection`s of earlier attempts, so that their statements have no effect if they arrive late.

        Raises StorageUnavailableError if a connection does not end in time. The default does nothing.
        """


class Storage(ABC):
    """Creates units of work."""

    @abstractmethod
    def transaction(self, actor: Principal = SYSTEM_PRINCIPAL) -> AbstractAsyncContextManager[UnitOfWork]:
        """Return a unit of work that commits all writes at the end of the block, or none if the block raises.

        The audit entries of the writes name the actor. Raises a TransientStorageError if a retry may succeed, and
        CommitResultUnknownError if the result of the commit is unknown.
        """

    @abstractmethod
    def readonly(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Return a unit of work that only reads. A write raises RuntimeError, because it is a programming error.

        Each read has its own snapshot, so two reads may return different states.
        """

    @abstractmethod
    def snapshot(self) -> AbstractAsyncContextManager[UnitOfWork]:
        """Return a unit of work as in `readonly`, in which all reads return the state of the first read.

        It can last long: the time limit of a unit of work applies to each read.
        """
