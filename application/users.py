"""Use cases of users."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Unpack
from uuid import UUID

from application.access import Caller
from application.idempotency import Created, Once, Outcome, created, outcome_of
from application.pages import Page
from application.ports import Clock, NewId, Storage, UnitOfWork
from application.transactions import Retry, readonly, transactional
from application.versions import Revision, require_version
from domain.api_keys import Scope
from domain.email import normalize_email
from domain.users import NewUser, User, UserChanges, UserNotFoundError


@dataclass(frozen=True, slots=True, kw_only=True)
class UserService:
    """Use cases of users.

    Every use case raises ForbiddenError if the principal lacks the required scope. For a principal that is bound to a
    user, no other user exists.
    """

    storage: Storage
    now: Clock
    new_id: NewId
    retry: Retry = field(default_factory=Retry)

    async def register(self, caller: Caller, **fields: Unpack[NewUser]) -> User:
        """Create a user.

        Raises ForbiddenError also if the caller is bound to a user, FieldValidationError, and
        EmailAlreadyRegisteredError if a different user has this address.
        """
        return (await self.create_once(caller, None, **fields)).value

    async def create_once(self, caller: Caller, once: Once[User] | None, **fields: Unpack[NewUser]) -> Created[User]:
        """Create a user, or return the user that an earlier execution of the same request created.

        Raises the errors of `register` and of `OutcomeRepository.add`.
        """
        caller.require(Scope.USERS_WRITE)
        caller.require_unbound()
        user = User.create(id=self.new_id(), now=self.now(), **fields)
        earlier = await self._add(user, outcome_of(once, user, subject_id=user.id, now=user.created_at))
        return created(user, once, earlier)

    @transactional
    async def _add(self, work: UnitOfWork, user: User, outcome: Outcome | None) -> Outcome | None:
        earlier = None if outcome is None else await work.outcomes.add(outcome)
        if earlier is None:
            await work.users.add(user)
        return earlier

    @readonly
    async def get(self, work: UnitOfWork, caller: Caller, user_id: UUID) -> User:
        """Return a user. Raises UserNotFoundError."""
        _require_access(caller, Scope.USERS_READ, user_id)
        return await work.users.get(user_id)

    @readonly
    async def list(
        self,
        work: UnitOfWork,
        caller: Caller,
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
        caller.require(Scope.USERS_READ)
        if caller.user_id is not None:
            user = await self._only(work, caller.user_id, email)
        elif email is not None:
            user = await work.users.find_by_email(email)
        else:
            return Page.cut(await work.users.list(limit=limit + 1, after=after, is_active=is_active), limit)
        return Page.cut(_matching(user, after=after, is_active=is_active), limit)

    async def _only(self, work: UnitOfWork, user_id: UUID, email: str | None) -> User | None:
        """Return this user, None if it does not exist or has a different address."""
        key = None if email is None else normalize_email(email)
        try:
            user = await work.users.get(user_id)
        except UserNotFoundError:
            return None
        return user if key in {None, normalize_email(user.email)} else None

    async def change(
        self, caller: Caller, user_id: UUID, *, expected: Collection[int] | None = None, **changes: Unpack[UserChanges]
    ) -> User:
        """Update a user and return it. Omitted fields keep their values; a no-op update does not change the version.

        Raises ForbiddenError also if a principal that is bound to a user changes `is_active`, UserNotFoundError,
        VersionMismatchError if the version is not an `expected` one, FieldValidationError, and
        EmailAlreadyRegisteredError if a different user has the new address.
        """
        _require_access(caller, Scope.USERS_WRITE, user_id)
        if "is_active" in changes:
            caller.require_unbound()
        return await self._change(user_id, Revision(expected, self.now()), changes)

    @transactional
    async def _change(self, work: UnitOfWork, user_id: UUID, revision: Revision, changes: UserChanges) -> User:
        user = await work.users.get(user_id)
        revision.check(user)
        changed = user.update(now=revision.now, **changes)
        if changed is not user:
            revision.make(changed, work)
            await work.users.update(changed)
        return changed

    @transactional
    async def erase(
        self, work: UnitOfWork, caller: Caller, user_id: UUID, *, expected: Collection[int] | None = None
    ) -> None:
        """Delete a user, their posts, and all other data about them.

        Raises UserNotFoundError, and VersionMismatchError if the version is not an `expected` one.
        """
        _require_access(caller, Scope.USERS_WRITE, user_id)
        try:
            user = await work.users.get(user_id)
        except UserNotFoundError:
            if work.lost:
                return
            raise
        require_version(user, expected)
        await work.users.remove(user)


def _require_access(caller: Caller, scope: Scope, user_id: UUID) -> None:
    """Raise ForbiddenError if the scope is missing, UserNotFoundError if the principal is bound to a different user."""
    caller.require(scope)
    if caller.is_kept_from(user_id):
        raise UserNotFoundError


def _matching(user: User | None, *, after: UUID | None, is_active: bool | None) -> Sequence[User]:
    if user is None or (after is not None and user.id >= after):
        return []
    return [user] if is_active in {None, user.is_active} else []
