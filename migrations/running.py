"""Running the revisions: each in a transaction of its own, with time limits, and again while it meets a lock."""

from collections.abc import Callable, Iterable, Iterator
from functools import wraps
from typing import Any

from alembic.runtime.migration import MigrationContext, MigrationStep
from alembic.script import Script
from sqlalchemy import Connection, text

from migrations.current import Current, set_current
from migrations.operations.places import forget, sweep
from migrations.patience import NOTHING, Patience, patiently
from migrations.phases import Phase, chosen

Planned = Callable[[Any, MigrationContext], Iterable[MigrationStep]]


class Plan:
    """The steps of a phase that Alembic planned, of which a repetition runs those that are not committed yet."""

    def __init__(
        self, planned: Planned, phase: Phase, release: str, *, before_each: Callable[[], None] = lambda: None
    ) -> None:
        self._planned = planned
        self._phase = phase
        self._release = release
        self._before_each = before_each
        self._steps: list[MigrationStep] | None = None
        self._under_way: Current | None = None
        self.moved = False
        """Whether a step was committed."""

    def steps(self, revision: Any, context: MigrationContext) -> Iterator[MigrationStep]:
        """Yield what is left to do. Alembic asks for the next one when it has committed the one before."""
        if self._steps is None:
            self._steps = chosen(self._planned(revision, context), self._phase, self._release)
        while self._steps:
            step = self._steps[0]
            self._before_each()
            if self._under_way is None:
                self._under_way = self._beginning(step, context)
            set_current(context, self._under_way)
            yield step
            self._under_way = None
            self.moved = True
            del self._steps[0]

    def _beginning(self, step: MigrationStep, context: MigrationContext) -> Current:
        """Have the step forget its backfills in the transaction that stamps it, and return what is under way then."""
        script = getattr(step, "revision", None)
        name = script.revision if isinstance(script, Script) else ""
        under_way = Current(name, up=step.is_upgrade, still_alone=self._before_each)
        migrate = step.migration_fn

        @wraps(migrate)
        def migrate_and_forget(**arguments: Any) -> None:
            migrate(**arguments)
            if not context.as_sql and context.connection is not None:
                forget(context.connection, under_way, context.opts["script"])

        step.migration_fn = migrate_and_forget
        return under_way

    @property
    def doing(self) -> str:
        """Tell what is under way, in a word or two."""
        return self._steps[0].short_log if self._steps else "migrating"

    @property
    def left(self) -> str:
        """Tell what of that stays when it fails now."""
        commits = self._under_way is not None and self._under_way.commits
        return "done is what its safe operations did, which a repetition finds" if commits else NOTHING


def apply(environment: Any, connection: Connection, plan: Plan, patience: Patience) -> None:
    """Apply what is planned: each revision a transaction, rolled back and begun anew when it meets a lock.

    `environment` is Alembic's, configured. The connection has no time limits of its own when this is over.
    """
    connection.commit()
    for name, milliseconds in patience.limits().items():
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

    patiently(environment.get_context(), attempt, doing=lambda: plan.doing, left=lambda: plan.left)
    connection.commit()
    if plan.moved:
        sweep(connection)
    for name in patience.limits():
        connection.execute(text(f"RESET {name}"))
    connection.commit()
