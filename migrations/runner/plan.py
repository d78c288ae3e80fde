"""Running the revisions: each in a transaction of its own, with time limits, and again while it meets a lock."""

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script
from sqlalchemy import Connection, text

from migrations.operations.checkpoints import delete_checkpoints, drop_empty_table
from migrations.runner.lock_retry import NOTHING_COMPLETED, LockRetryPolicy, retry_on_lock_timeout
from migrations.runner.phases import Phase, select_steps
from migrations.runner.running_revision import RunningRevision, set_running

Planned = Callable[[Any, MigrationContext], Iterable[MigrationStep]]


class MigrationPlan:
    """The steps of a phase that Alembic planned, of which a repetition runs those that are not committed yet."""

    def __init__(
        self, planned_steps: Planned, phase: Phase, release: str, *, before_each: Callable[[], None] = lambda: None
    ) -> None:
        self._planned_steps = planned_steps
        self._phase = phase
        self._release = release
        self._before_each = before_each
        self._steps: list[MigrationStep] | None = None
        self._running: RunningRevision | None = None
        self.moved = False
        """Whether a step was committed."""

    def steps(self, revision: Any, context: MigrationContext) -> Iterator[MigrationStep]:
        """Yield what is left to do. Alembic asks for the next one when it has committed the one before."""
        if self._steps is None:
            self._steps = select_steps(self._planned_steps(revision, context), self._phase, self._release)
        while self._steps:
            step = self._steps[0]
            self._before_each()
            if self._running is None:
                self._running = self._begin_step(step, context)
            set_running(context, self._running)
            yield step
            self._running = None
            self.moved = True
            del self._steps[0]

    def _begin_step(self, step: MigrationStep, context: MigrationContext) -> RunningRevision:
        """Have the step forget its backfills in the transaction that stamps it, and return what is under way then."""
        script = getattr(step, "revision", None)
        name = script.revision if isinstance(script, Script) else ""
        under_way = RunningRevision(name, up=step.is_upgrade, still_alone=self._before_each)
        migrate = step.migration_fn

        @wraps(migrate)
        def migrate_and_forget(**arguments: Any) -> None:
            migrate(**arguments)
            if not context.as_sql and context.connection is not None:
                delete_checkpoints(context.connection, under_way, context.opts["script"])

        step.migration_fn = migrate_and_forget
        return under_way

    @property
    def current_step(self) -> str:
        """Tell what is under way, in a word or two."""
        return self._steps[0].short_log if self._steps else "migrating"

    @property
    def completed_work(self) -> str:
        """Tell what of that stays when it fails now."""
        commits = self._running is not None and self._running.commits
        return "done is what its safe operations did, which a repetition finds" if commits else NOTHING_COMPLETED


def apply_plan(environment: Any, connection: Connection, plan: MigrationPlan, policy: LockRetryPolicy) -> None:
    """Apply what is planned: each revision a transaction, rolled back and begun anew when it meets a lock.

    `environment` is Alembic's, configured. The connection has no time limits of its own when this is over.
    """
    connection.commit()
    for name, milliseconds in policy.limits().items():
        connection.execute(text(f"SET {name} = {milliseconds}"))
    connection.commit()

    def attempt() -> None:
        try:
            with environment.begin_transaction():
                environment.run_migrations()
        except BaseException:
            if not connection.invalidated:
                connection.rollback()
            raise

    retry_on_lock_timeout(
        environment.get_context(),
        attempt,
        current_step=lambda: plan.current_step,
        completed_work=lambda: plan.completed_work,
    )
    connection.commit()
    if plan.moved:
        drop_empty_table(connection)
    for name in policy.limits():
        connection.execute(text(f"RESET {name}"))
    connection.commit()
