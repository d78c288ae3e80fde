"""Use cases of users."""

from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, field
from typing import Unpack
from uuid import UUID

from application.authorization import Principal
from application.idempotency import Created, IdempotentRequest, create_once
from application.optimistic_locking import VersionedUpdate, require_expected_version
from application.pagination import Page
from application.ports import Clock, NewId, Storage, UnitOfWork
from application.transactions import RetryPolicy, readonly, transactional
from domain.api_keys import Scope
from domain.email import normalize_email
from domain.users import NewUser, User, UserChanges, UserNotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class UserService:
    """Use cases of users.

    Every use case raises ForbiddenError if the principal lacks the required scope. For a principal that is bound to a
    user, no other user exists. `on_delete` receives the ID of each deleted user.
    """

    storage: Storage
    clock: Clock
    new_id: NewId
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    on_delete: Callable[[UUID], None] = lambda _: None

    async def create(self, principal: Principal, **fields: Unpack[NewUser]) -> User:
        """Create a user.

        Raises ForbiddenError also if the caller is bound to a user, FieldValidationError, and
        EmailAlreadyRegisteredError if a different user has this address.
        """
        return (await self.create_once(principal, None, **fields)).value

    async def create_once(
        self, principal: Principal, once: IdempotentRequest[User] | None, **fields: Unpack[NewUser]
    ) -> Created[User]:
        """Create a user, or return the user that an earlier execution of the same request created.

        Raises the errors of `create` and of `IdempotencyRepository.add`.
        """
        principal.require_scopes(Scope.USERS_WRITE)
        principal.require_not_user_bound()
        user = User.create(id=self.new_id(), now=self.clock(), **fields)
        return await create_once(self, principal, once, user, lambda work: work.users.add(user), subject_id=user.id)

    @readonly
    async def get(self, work: UnitOfWork, principal: Principal, user_id: UUID) -> User:
        """Return a user. Raises UserNotFoundError."""
        _require_access(principal, Scope.USERS_READ, user_id)
        return await work.users.get(user_id)

    @readonly
    async def list(
        self,
        work: UnitOfWork,
        principal: Principal,
        *,
        limit: int,
        after: UUID | None = None,
        email: str | None = None,
        is_active: bool | None = None,
    ) -> Page[User]:
        """Return a page of at most `limit` users, newest first, below the ID `after`.

        `email` selects the user with that address, in any spelling. `is_active` selects active or inactive users.
        Raises FieldValidationError if `email` is not a valid address.
        """
        principal.require_scopes(Scope.USERS_READ)
        if principal.user_id is not None:
            user = await self._get_matching_user(work, principal.user_id, email)
        elif email is not None:
            user = await work.users.find_by_email(email)
        else:
            return Page.from_rows(await work.users.list(limit=limit + 1, after=after, is_active=is_active), limit)
        return Page.from_rows(_filter_user(user, after=after, is_active=is_active), limit)

    async def _get_matching_user(self, work: UnitOfWork, user_id: UUID, email: str | None) -> User | None:
        """Return this user, None if it does not exist or has a different address."""
        normalized = None if email is None else normalize_email(email)
        try:
            user = await work.users.get(user_id)
        except UserNotFoundError:
            return None
        return user if normalized in {None, normalize_email(user.email)} else None

    async def update(
        self,
        principal: Principal,
        user_id: UUID,
        *,
        expected: Container[int] | None = None,
        **changes: Unpack[UserChanges],
    ) -> User:
        """Update a user and return it. Omitted fields keep their values; a no-op update does not change the version.

        Raises ForbiddenError also if a principal that is bound to a user changes `is_active`, UserNotFoundError,
        VersionMismatchError if the version is not an `expected` one, FieldValidationError, and
        EmailAlreadyRegisteredError if a different user has the new address.
        """
        _require_access(principal, Scope.USERS_WRITE, user_id)
        if "is_active" in changes:
            principal.require_not_user_bound()
        return await self._update(principal, user_id, VersionedUpdate(expected, self.clock()), changes)

    @transactional
    async def _update(
        self,
        work: UnitOfWork,
        _principal: Principal,
        user_id: UUID,
        update: VersionedUpdate,
        changes: UserChanges,
    ) -> User:
        user = await work.users.get(user_id)
        update.check_version(user)
        changed = user.update(now=update.now, **changes)
        if changed is not user:
            update.check_write(changed, work)
            await work.users.update(changed)
        return changed

    async def delete(self, principal: Principal, user_id: UUID, *, expected: Container[int] | None = None) -> None:
        """Delete a user, their posts, their API keys, and all other data about them.

        The keys are invalid in this process at once, in other processes when their cache entries expire.
        Raises UserNotFoundError, and VersionMismatchError if the version is not an `expected` one.
        """
        _require_access(principal, Scope.USERS_WRITE, user_id)
        try:
            await self._delete(principal, user_id, expected)
        finally:  # the deletion may be stored although its result is unknown
            self.on_delete(user_id)

    @transactional
    async def _delete(
        self, work: UnitOfWork, _principal: Principal, user_id: UUID, expected: Container[int] | None
    ) -> None:
        try:
            user = await work.users.get(user_id)
        except UserNotFoundError:
            if work.lost_commits:
                return
            raise
        require_expected_version(user, expected)
        await work.users.delete(user)


def _require_access(principal: Principal, scope: Scope, user_id: UUID) -> None:
    """Raise ForbiddenError without the scope, and UserNotFoundError for a user whom the principal cannot see."""
    principal.require_scopes(scope)
    if principal.cannot_see(user_id):
        raise UserNotFoundError


def _filter_user(user: User | None, *, after: UUID | None, is_active: bool | None) -> Sequence[User]:
    if user is None or (after is not None and user.id >= after):
        return []
    return [user] if is_active in {None, user.is_active} else []
