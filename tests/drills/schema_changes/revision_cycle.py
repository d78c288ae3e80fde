"""Running revisions one by one, up and then down."""

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from packaging.version import Version
from sqlalchemy import URL

from adapters.testing.template_databases import connected
from migrations.runner.phases import phase_of, safe_from, with_ancestors
from migrations.runner.revisions import Phase
from tests.drills.scenario import FaultWindow, ScenarioError
from tests.support.schema_dump import revisions

_LEFT = """
    SELECT format('index %s is invalid', indexrelid::regclass) FROM pg_index WHERE NOT indisvalid
    UNION ALL
    SELECT format('constraint %s is not validated', conname) FROM pg_constraint WHERE NOT convalidated
"""
_HAS_BACKFILLS = "SELECT to_regclass('alembic_backfills') IS NOT NULL"
_LEFT_BACKFILLS = "SELECT format('a backfill of revision %s is not done', revision) FROM alembic_backfills"
"""The empty table stays if autovacuum locks it. The next migration drops it."""


@dataclass(frozen=True, slots=True)
class RevisionRun:
    """An upgrade ("up") or downgrade ("down") of one revision, its time, and unfinished work that it left."""

    revision: str
    doc: str
    direction: str
    window: FaultWindow
    unfinished: Sequence[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.doc} ({self.revision}) {self.direction}"


class RevisionCycle:
    """Revisions that a database lacks, and with which the serving release is compatible."""

    def __init__(self, config: Config, database: URL, *, release: str) -> None:
        config.attributes |= {"phase": Phase.CONTRACT, "release": release}
        self._config = config
        self._database = database
        scripts = ScriptDirectory.from_config(config)
        applied = with_ancestors(scripts, revisions(database))
        lacking = [one for one in reversed(list(scripts.walk_revisions())) if one.revision not in applied]
        expand = [one for one in lacking if phase_of(one) is Phase.EXPAND]
        contract = [one for one in lacking if phase_of(one) is Phase.CONTRACT]
        self.scripts: Sequence[Script] = [*expand, *(one for one in contract if _is_compatible(one, release))]

    def moves(self) -> Iterator[RevisionRun]:
        """Upgrade by each revision, then downgrade in reverse order. Raises ScenarioError on failure."""
        for script in self.scripts:
            yield self._moved(script, "up")
        for script in reversed(self.scripts):
            yield self._moved(script, "down")

    def _moved(self, script: Script, direction: str) -> RevisionRun:
        upgrade, downgrade = (command.upgrade, script.revision), (command.downgrade, f"{script.revision}@-1")
        change, goal = upgrade if direction == "up" else downgrade
        start = time.monotonic()
        try:
            with ThreadPoolExecutor(1) as thread:  # Alembic's environment runs an event loop
                thread.submit(change, self._config, goal).result()
        except Exception as error:
            raise ScenarioError(f"revision {script.revision} failed: {error}") from error
        window = FaultWindow(f"a revision goes {direction}", start, time.monotonic())
        with connected(self._database) as connection:
            queries = [_LEFT]
            if connection.execute(_HAS_BACKFILLS).fetchone() == (True,):
                queries.append(_LEFT_BACKFILLS)
            unfinished = [str(words) for query in queries for (words,) in connection.execute(query)]
        return RevisionRun(script.revision, script.doc, direction, window, unfinished)


def _is_compatible(script: Script, release: str) -> bool:
    return Version(safe_from(script)) <= Version(release)
