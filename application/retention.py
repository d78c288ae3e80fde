"""Retention: deletes data that has expired."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from uuid import UUID

from application.authorization import PURGE_PRINCIPAL, Principal
from application.ports import Storage, UnitOfWork
from application.transactions import RetryPolicy, readonly, transactional
from domain.posts import PostStatus

PURGE_BATCH_SIZE = 500
"""Rows per transaction. Small batches keep the transactions short."""


class RetentionRule(StrEnum):
    """A rule that decides when data expires."""

    IDEMPOTENCY_RECORDS = "idempotency-records"
    DRAFTS = "drafts"
    ARCHIVED_POSTS = "archived-posts"
    INACTIVE_USERS = "inactive-users"
    AUDIT_ENTRIES = "audit-entries"


POST_STATUSES = {RetentionRule.DRAFTS: PostStatus.DRAFT, RetentionRule.ARCHIVED_POSTS: PostStatus.ARCHIVED}
"""The posts to which a rule applies."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionService:
    """Deletes expired data.

    `policy` has the time after the last change at which the data of a rule expires. A rule without a time is off.
    Idempotency records have their own times. `on_purge` receives the number of rows of each batch. `on_delete_user`
    receives the ID of each deleted user.
    """

    storage: Storage
    policy: Mapping[RetentionRule, timedelta] = field(default_factory=dict)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    batch_size: int = PURGE_BATCH_SIZE
    on_purge: Callable[[RetentionRule, int], None] = lambda _rule, _rows: None
    on_delete_user: Callable[[UUID], None] = lambda _: None

    async def purge(self) -> Mapping[RetentionRule, int]:
        """Delete all expired data in batches, and return the number of rows per rule."""
        return {rule: await self._purge_rule(rule) for rule in self._rules()}

    async def count_expired(self) -> Mapping[RetentionRule, int]:
        """Return the number of rows per rule that `purge` would delete."""
        return {rule: await self._count(rule) for rule in self._rules()}

    def _rules(self) -> list[RetentionRule]:
        return [rule for rule in RetentionRule if rule is RetentionRule.IDEMPOTENCY_RECORDS or rule in self.policy]

    async def _purge_rule(self, rule: RetentionRule) -> int:
        # The transaction for one user also deletes all their posts.
        limit = 1 if rule is RetentionRule.INACTIVE_USERS else self.batch_size
        purged = 0
        while True:
            user_ids: list[UUID] = []
            try:
                removed = await self._purge_batch(PURGE_PRINCIPAL, rule, limit, user_ids)
            finally:  # the deletion may be stored although its result is unknown
                for user_id in user_ids:
                    self.on_delete_user(user_id)
            self.on_purge(rule, removed)
            purged += removed
            if removed < limit:
                return purged

    @transactional
    async def _purge_batch(
        self, work: UnitOfWork, _principal: Principal, rule: RetentionRule, limit: int, user_ids: list[UUID]
    ) -> int:
        """Delete up to `limit` rows, and return their number. Add the IDs of deleted users to `user_ids`."""
        if rule is RetentionRule.IDEMPOTENCY_RECORDS:
            return await work.idempotency.purge(limit=limit)
        unchanged_for = self.policy[rule]
        if rule is RetentionRule.AUDIT_ENTRIES:
            return await work.audit.purge(older_than=unchanged_for, limit=limit)
        if rule in POST_STATUSES:
            return await work.posts.purge(status=POST_STATUSES[rule], unchanged_for=unchanged_for, limit=limit)
        user = await work.users.find_expired(unchanged_for=unchanged_for)
        if user is None:
            return 0
        user_ids.append(user.id)
        await work.users.delete(user)
        return 1

    @readonly
    async def _count(self, work: UnitOfWork, rule: RetentionRule) -> int:
        if rule is RetentionRule.IDEMPOTENCY_RECORDS:
            return await work.idempotency.count_expired()
        unchanged_for = self.policy[rule]
        if rule is RetentionRule.AUDIT_ENTRIES:
            return await work.audit.count_expired(older_than=unchanged_for)
        if rule in POST_STATUSES:
            return await work.posts.count_expired(status=POST_STATUSES[rule], unchanged_for=unchanged_for)
        return await work.users.count_expired(unchanged_for=unchanged_for)

    @readonly
    async def purge_lag(self, work: UnitOfWork) -> timedelta:
        """Return the age of the oldest expired idempotency record, zero if no record has expired."""
        return await work.idempotency.purge_lag()
