"""`python -m migrations.lint.lock_trace`.

Apply each revision to a table with rows, and refuse what keeps others waiting.

On the server of DATABASE_URL it makes a database, applies revision after revision, fills each table as soon as it is
there, and prints for each statement the locks, the milliseconds, and what was scanned or written anew. Refused is a
scan, a rewrite or whatever takes long in a transaction with a lock beside which nobody can write, and a statement that
writes half of a table. A revision may have an exception, with the reason:
`exceptions = {"scan-under-lock": "ten rows at the most"}`.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from adapters.settings import database_url
from migrations.alembic_config import alembic_config
from migrations.lint.linter import Finding, findings
from migrations.lint.sample_rows import insert_sample_rows
from migrations.lint.statement_observer import StatementObserver, StatementReport
from migrations.revision_sql import statements

ROWS = 10_000
MAX_BLOCKING_MILLISECONDS = 500.0
"""For which others may be kept waiting here: what is sound takes a few, and a slow machine is not a fault in it."""
_NO_PARALLEL_WORKERS = (
    "-c max_parallel_maintenance_workers=0 -c max_parallel_workers_per_gather=0"  # what workers scan is not seen
)


def trace(
    config: Config, url: URL, rows: int = ROWS, *, only: str | None = None, parallel: bool = False
) -> Iterator[tuple[Script, list[StatementReport]]]:
    """Apply all revisions to an empty database, and yield what was seen of each (`only` of this one), up and down."""
    options = {} if parallel else {"options": _NO_PARALLEL_WORKERS}
    engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, connect_args=options)
    observer = StatementObserver(engine)
    filled: set[str] = set()
    with engine.connect() as connection:
        config.attributes |= {"connection": connection, "phase": "contract", "report": lambda _: None}
        for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())):
            observer.reports.clear()
            with observer.watching():
                command.upgrade(config, script.revision)
            insert_sample_rows(connection, rows, filled)
            if only not in {None, script.revision}:
                continue
            if statements(script, upgrade=False):
                with observer.watching(undoing=True):
                    command.downgrade(config, f"{script.revision}@-1")
                insert_sample_rows(connection, rows, filled)
                command.upgrade(config, script.revision)
                insert_sample_rows(connection, rows, filled)
            yield script, list(observer.reports)
    engine.dispose()


def violations(script: Script, seen: list[StatementReport]) -> Iterator[Finding]:
    """Yield what kept others waiting for as long as a scan, a rewrite or a write lasts, exceptions included."""
    return findings(script, (found for each in seen for found in _found(each)))


def _found(seen: StatementReport) -> Iterator[tuple[str, str]]:
    held = f"{seen.milliseconds:.0f} ms under a lock on {', '.join(seen.write_blocked_tables)}: {seen.statement[:100]}"
    if seen.write_blocked_tables and seen.rewritten:
        yield "rewrite-under-lock", f"{', '.join(sorted(seen.rewritten))} written anew, {held}"
    elif seen.write_blocked_tables and seen.scanned:
        yield "scan-under-lock", f"{', '.join(sorted(seen.scanned))} scanned, {held}"
    elif seen.blocked_milliseconds > MAX_BLOCKING_MILLISECONDS:
        yield "slow-under-lock", f"{seen.blocked_milliseconds:.0f} ms since the first lock, {held}"
    if seen.written and not seen.from_safe_operation:
        yield (
            "unbatched-write",
            f"half of {', '.join(sorted(seen.written))}, not by op.backfill: {seen.statement[:100]}",
        )


def format_report(script: Script, seen: list[StatementReport]) -> Iterator[str]:
    """Yield a line for each statement."""
    for each in seen:
        locks = (
            ", ".join(f"{mode} on {table}" for table, mode in sorted(each.locks.items())) or "none on what was there"
        )
        work = [f"scans {table}" for table in sorted(each.scanned)]
        work += [f"WRITES {name} ANEW" for name in sorted(each.rewritten)]
        work += [f"writes {name}" for name in sorted(each.written)]
        times = f" x {each.executions}" if each.executions > 1 else ""
        name = f"{script.revision} undone" if each.is_downgrade else script.revision
        yield (
            f"{name} | {each.statement[:72]:72} | {locks} | {each.milliseconds:.1f} ms{times} | "
            f"{', '.join(work) or '-'}"
        )


@contextmanager
def temporary_database(url: URL) -> Iterator[URL]:
    """Make a database beside that one, for as long as the block."""
    name = f"hexapost_trace_{os.getpid()}"
    engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield url.set(database=name)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def main() -> int:
    """Trace all revisions; return 1 when something is refused."""
    parser = argparse.ArgumentParser(description="apply each revision to tables with rows, and see what it locks")
    parser.add_argument("--rows", type=int, default=ROWS, help=f"how many posts (default {ROWS})")
    options = parser.parse_args()
    config = alembic_config(release="999")
    failed = False
    with temporary_database(make_url(database_url())) as url:
        for script, seen in trace(config, url, options.rows):
            for line in format_report(script, seen):
                sys.stdout.write(f"{line}\n")
            for found in violations(script, seen):
                sys.stdout.write(f"{'ALLOWED' if found.reason else 'REFUSED'}: {found}\n")
                failed |= found.reason is None
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
