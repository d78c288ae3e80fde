"""`python -m migrations.lint.lock_trace`: apply each revision to tables with rows, and reject long locks.

It creates a database on the server of DATABASE_URL, applies the revisions one by one, and inserts rows into new tables.
For each statement it prints the locks, the duration, and the scans and rewrites. It rejects a scan, a rewrite or a long
time under a lock that blocks writes, and a statement that writes half of a table. A revision can declare an exception
with its reason: `exceptions = {"scan-under-lock": "at most ten rows"}`.
"""

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
from migrations.lint.linter import Finding, findings
from migrations.lint.sample_rows import insert_sample_rows
from migrations.lint.statement_observer import StatementObserver, StatementReport
from migrations.runner.alembic_config import alembic_config
from migrations.sql.revision_sql import statements

ROWS = 10_000
MAX_BLOCKING_MILLISECONDS = 500.0
"""Safe revisions block for a few milliseconds; the margin is for slow machines."""
_NO_PARALLEL_WORKERS = (
    "-c max_parallel_maintenance_workers=0 -c max_parallel_workers_per_gather=0"  # the statistics omit workers
)


def trace(
    config: Config, url: URL, rows: int = ROWS, *, only: str | None = None, parallel: bool = False
) -> Iterator[tuple[Script, list[StatementReport]]]:
    """Apply all revisions to an empty database. Yield the reports of each one (or `only` of one), up and down."""
    options = {} if parallel else {"options": _NO_PARALLEL_WORKERS}
    engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, connect_args=options)
    observer = StatementObserver(engine)
    with engine.connect() as connection:
        config.attributes |= {"connection": connection, "phase": "contract", "report": lambda _: None}
        for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())):
            reports = observer.reports = []
            command.upgrade(config, script.revision)
            insert_sample_rows(connection, rows)
            if only not in {None, script.revision}:
                continue
            if statements(script, upgrade=False):
                observer.is_downgrade = True
                command.downgrade(config, f"{script.revision}@-1")
                insert_sample_rows(connection, rows)
                observer.is_downgrade, observer.reports = False, []
                command.upgrade(config, script.revision)
                insert_sample_rows(connection, rows)
            yield script, reports
    engine.dispose()


def violations(script: Script, reports: list[StatementReport]) -> Iterator[Finding]:
    """Yield the findings in the reports of a revision, exceptions included."""
    return findings(script, (violation for report in reports for violation in _violations(report)))


def _violations(report: StatementReport) -> Iterator[tuple[str, str]]:
    tables = ", ".join(report.write_blocked_tables)
    lock = f"{report.milliseconds:.0f} ms under a lock on {tables}: {report.statement[:100]}"
    if tables and report.rewritten:
        yield "rewrite-under-lock", f"rewrites {', '.join(sorted(report.rewritten))}, {lock}"
    elif tables and report.scanned:
        yield "scan-under-lock", f"scans {', '.join(sorted(report.scanned))}, {lock}"
    elif report.blocked_milliseconds > MAX_BLOCKING_MILLISECONDS:
        yield "slow-under-lock", f"{report.blocked_milliseconds:.0f} ms since the first lock, {lock}"
    if report.written and not report.from_safe_operation:
        written = ", ".join(sorted(report.written))
        yield "unbatched-write", f"writes half of {written}; use op.backfill: {report.statement[:100]}"


def format_report(script: Script, reports: list[StatementReport]) -> Iterator[str]:
    """Yield a line for each statement."""
    for each in reports:
        locks = ", ".join(f"{mode} on {table}" for table, mode in sorted(each.locks.items()))
        work = [f"scans {table}" for table in sorted(each.scanned)]
        work += [f"REWRITES {name}" for name in sorted(each.rewritten)]
        work += [f"writes {name}" for name in sorted(each.written)]
        times = f" x {each.executions}" if each.executions > 1 else ""
        name = f"{script.revision} undone" if each.is_downgrade else script.revision
        yield (
            f"{name} | {each.statement[:72]:72} | {locks or 'no lock on older tables'} | "
            f"{each.milliseconds:.1f} ms{times} | {', '.join(work) or '-'}"
        )


@contextmanager
def temporary_database(url: URL) -> Iterator[URL]:
    """Create a database on the same server for the block."""
    name = f"hexapost_trace_{os.getpid()}"
    engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            yield url.set(database=name)
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))


def main() -> int:
    """Trace all revisions. Return 1 if a finding is not allowed."""
    failed = False
    with temporary_database(make_url(database_url())) as url:
        for script, reports in trace(alembic_config(release="999"), url):
            for line in format_report(script, reports):
                sys.stdout.write(f"{line}\n")
            for found in violations(script, reports):
                sys.stdout.write(f"{'allowed' if found.reason else 'rejected'}: {found}\n")
                failed |= found.reason is None
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
