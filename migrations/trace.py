"""`python -m migrations.trace`: apply each revision to a table with rows, and refuse what keeps others waiting.

On the server of DATABASE_URL it makes a database, applies revision after revision, fills each table as soon as it is
there, and prints for each statement the locks, the milliseconds, and what was scanned or written anew. Refused is a
scan or a rewrite in a transaction with a lock beside which nobody can write. A revision may have an exception, with the
reason: `exceptions = {"scan-under-lock": "ten rows at the most"}`.
"""

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import Script, ScriptDirectory
from sqlalchemy import URL, create_engine, make_url, text
from sqlalchemy.pool import NullPool

from adapters.settings import database_url
from migrations.lint import Finding, finding
from migrations.observing import Observer, Seen
from migrations.rows import fill

ROWS = 10_000


def trace(
    config: Config, url: URL, rows: int = ROWS, *, only: str | None = None
) -> Iterator[tuple[Script, list[Seen]]]:
    """Apply all revisions to an empty database, and yield what was seen of each (`only` of this one)."""
    engine = create_engine(url.set(drivername="postgresql+psycopg"), poolclass=NullPool)
    observer = Observer(engine)
    filled: set[str] = set()
    with engine.connect() as connection:
        config.attributes |= {"connection": connection, "phase": "contract", "report": lambda _: None}
        for script in reversed(list(ScriptDirectory.from_config(config).walk_revisions())):
            observer.seen.clear()
            with observer.watching():
                command.upgrade(config, script.revision)
            if only in {None, script.revision}:
                yield script, list(observer.seen)
            fill(connection, rows, filled)
    engine.dispose()


def refused(script: Script, seen: list[Seen]) -> Iterator[Finding]:
    """Yield what kept others waiting for as long as a scan or a rewrite lasts, exceptions included."""
    for each in seen:
        held = f"{each.milliseconds:.0f} ms under a lock on {', '.join(each.stopped)}: {each.statement[:100]}"
        if each.stopped and each.rewritten:
            yield finding(script, "rewrite-under-lock", f"{', '.join(sorted(each.rewritten))} written anew, {held}")
        elif each.stopped and each.scanned:
            yield finding(script, "scan-under-lock", f"{', '.join(sorted(each.scanned))} scanned, {held}")


def lines(script: Script, seen: list[Seen]) -> Iterator[str]:
    """Yield a line for each statement."""
    for each in seen:
        locks = (
            ", ".join(f"{mode} on {table}" for table, mode in sorted(each.locks.items())) or "none on what was there"
        )
        work = [f"scans {table}" for table in sorted(each.scanned)]
        work += [f"WRITES {name} ANEW" for name in sorted(each.rewritten)]
        times = f" x {each.times}" if each.times > 1 else ""
        yield (
            f"{script.revision} | {each.statement[:72]:72} | {locks} | {each.milliseconds:.1f} ms{times} | "
            f"{', '.join(work) or '-'}"
        )


@contextmanager
def database(url: URL) -> Iterator[URL]:
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
    config = Config(attributes={"release": "999"})
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    failed = False
    with database(make_url(database_url())) as url:
        for script, seen in trace(config, url, options.rows):
            for line in lines(script, seen):
                sys.stdout.write(f"{line}\n")
            for found in refused(script, seen):
                sys.stdout.write(f"{'ALLOWED' if found.reason else 'REFUSED'}: {found}\n")
                failed |= found.reason is None
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
