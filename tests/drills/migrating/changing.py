"""Changing the schema while it is in use: one revision after the other, up and then down."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import URL

from migrations.phases import Phase, ordered, phase_of, safe_from, with_ancestors
from tests.drills.drill import DrillError, Mark
from tests.support.databases import connected
from tests.support.schemas import revisions

LONGEST_SECONDS = 1800.0
"""After which a revision is taken never to be applied."""
_LEFT = """
    SELECT format('index %s is invalid', indexrelid::regclass) FROM pg_index WHERE NOT indisvalid
    UNION ALL
    SELECT format('constraint %s is not validated', conname) FROM pg_constraint WHERE NOT convalidated
    UNION ALL
    SELECT 'a backfill is not done' WHERE to_regclass('alembic_backfills') IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """A revision that was applied or undone: when, by the system's monotonic clock, and what it left unfinished."""

    revision: str
    doc: str
    up: bool
    start: float
    end: float
    unfinished: Sequence[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.doc} ({self.revision}) {'up' if self.up else 'down'}"

    def mark(self, begun: float) -> Mark:
        """Return it for a picture that begins at that time."""
        label = f"a revision goes {'up' if self.up else 'down'}"
        return Mark(label=label, start=self.start - begun, end=self.end - begun)


class Changes:
    """The revisions that a database lacks and that the release which serves meanwhile bears."""

    def __init__(self, config: Config, database: URL, *, release: str) -> None:
        config.attributes |= {"phase": Phase.CONTRACT, "release": release}
        self._config = config
        self._database = database
        scripts = ScriptDirectory.from_config(config)
        applied = with_ancestors(scripts, revisions(database))
        lacking = [one for one in reversed(list(scripts.walk_revisions())) if one.revision not in applied]
        expand = [one for one in lacking if phase_of(one) is Phase.EXPAND]
        contract = [one for one in lacking if phase_of(one) is Phase.CONTRACT]
        self.scripts: Sequence[Script] = [*expand, *(one for one in contract if _is_borne(one, release))]

    def moves(self) -> Iterator[Move]:
        """Apply each, then undo each, the last one first. Raises DrillError when one cannot be."""
        for script in self.scripts:
            yield self._moved(script, up=True)
        for script in reversed(self.scripts):
            yield self._moved(script, up=False)

    def _moved(self, script: Script, *, up: bool) -> Move:
        start = time.monotonic()
        if up:
            _within(LONGEST_SECONDS, lambda: command.upgrade(self._config, script.revision))
        else:
            _within(LONGEST_SECONDS, lambda: command.downgrade(self._config, f"{script.revision}@-1"))
        end = time.monotonic()
        with connected(self._database) as connection:
            unfinished = [str(words) for (words,) in connection.execute(_LEFT)]
        return Move(revision=script.revision, doc=script.doc, up=up, start=start, end=end, unfinished=unfinished)


def _is_borne(script: Script, release: str) -> bool:
    return ordered(safe_from(script)) <= ordered(release)


def _within(seconds: float, work: Callable[[], None]) -> None:
    """Return when it is done. Raises DrillError when it takes longer, or fails."""
    failed: list[Exception] = []

    def attempt() -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - whatever it is, the drill is over
            failed.append(error)

    thread = threading.Thread(target=attempt, daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        raise DrillError(f"a revision is not applied after {seconds:g} s")
    if failed:
        raise DrillError(f"a revision is not applied: {failed[0]}") from failed[0]
