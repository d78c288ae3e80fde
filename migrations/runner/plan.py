"""Applies revisions: each in one transaction, with time limits and retries."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script
from sqlalchemy import Connection, text

from migrations.operations.checkpoints import drop_empty_table
from migrations.operations.steps import RunningRevision
from migrations.runner.lock_retry import NOTHING_COMPLETED, LockRetryPolicy, retry_on_lock_timeout
from migrations.runner.phases import select_steps
from migrations.runner.revisions import Phase
from migrations.sql.revision_sql import StatementOrigin, statements_from

PlannedSteps = Callable[[Any, MigrationContext], Iterable[MigrationStep]]


class MigrationPlan:
    """The steps of a phase that Alembic planned. A retry runs only the steps that are not committed.

    Without a phase, a database without revisions gets both phases, and others get phase expand.
    """

    def __init__(
        self, planned_steps: PlannedSteps, phase: Phase | None, release: str, *, require_lock: Callable[[], None]
    ) -> None:
        self._planned_steps = planned_steps
        self._phase = phase
        self._release = release
        self._require_lock = require_lock
        self._steps: list[MigrationStep] | None = None
        self._running: RunningRevision | None = None
        self.has_committed_step = False
        """True after the first committed step."""

    def steps(self, revision: Any, context: MigrationContext) -> Iterator[MigrationStep]:
        """Yield the remaining steps. Alembic commits a step before it requests the next one."""
        if self._steps is None:
            self._steps = self._select(revision, context)
        while self._steps:
            step = self._steps[0]
            self._require_lock()
            if self._running is None:
                self._running = self._start(step)
            self._running.backfills = 0  # this attempt starts with the first backfill
            context.opts["running_revision"] = self._running
            yield step
            self._running = None
            self.has_committed_step = True
            del self._steps[0]

    def check(self, context: MigrationContext, require: Callable[[Script], None]) -> None:
        """Call `require` with each pending revision, before the first step. Alembic's `op` is not in use yet."""
        steps = self._select(context.get_current_heads(), context)
        for script in (getattr(step, "revision", None) for step in steps):
            if isinstance(script, Script):
                require(script)

    def _select(self, heads: Any, context: MigrationContext) -> list[MigrationStep]:
        """Return the planned steps of the phase for a database with these applied revisions."""
        phase = self._phase or (Phase.EXPAND if heads else None)
        return select_steps(self._planned_steps(heads, context), phase, self._release)

    def _start(self, step: MigrationStep) -> RunningRevision:
        """Mark the statements of the step, and return its revision."""
        step.migration_fn = statements_from(StatementOrigin.REVISION)(step.migration_fn)
        script = getattr(step, "revision", None)
        name = script.revision if isinstance(script, Script) else ""
        return RunningRevision(name, up=step.is_upgrade, require_lock=self._require_lock)

    def current_step(self) -> str:
        """Return a short description of the running step."""
        return self._steps[0].short_log if self._steps else "reading the schema version"

    def completed_work(self) -> str:
        """Describe the changes of the running step that are kept if it fails now."""
        if self._running is None or not self._running.commits:
            return NOTHING_COMPLETED
        return "its completed safe operations are kept; run the migration again to continue"


def apply_plan(
    environment: Any,
    connection: Connection,
    plan: MigrationPlan,
    policy: LockRetryPolicy,
    require: Callable[[Script], None] | None,
) -> None:
    """Apply the plan in Alembic's configured `environment`, with the time limits of the policy.

    First call `require` with each pending revision.
    """
    connection.commit()
    for name, milliseconds in policy.limits().items():
        connection.execute(text(f"SET {name} = {milliseconds}"))
    connection.commit()
    context: MigrationContext = environment.get_context()

    def run(attempt: Callable[[], None]) -> None:
        def attempt_or_rollback() -> None:
            try:
                attempt()
            except BaseException:
                if not connection.invalidated:
                    connection.rollback()
                raise

        retry_on_lock_timeout(
            context, attempt_or_rollback, current_step=plan.current_step, completed_work=plan.completed_work
        )

    def migrate() -> None:
        with environment.begin_transaction():
            environment.run_migrations()

    if require is not None:
        run(lambda: plan.check(context, require))
    run(migrate)
    connection.commit()
    if plan.has_committed_step:
        drop_empty_table(connection)
    for name in policy.limits():
        connection.execute(text(f"RESET {name}"))
    connection.commit()
