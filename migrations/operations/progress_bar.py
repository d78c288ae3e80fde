"""How far a backfill is: a bar on a terminal, a line from time to time elsewhere."""

import functools
import sys
import time

from alembic.runtime.migration import MigrationContext

WIDTH = 30
REPORT_INTERVAL_SECONDS = 10.0


class ProgressBar:
    """The progress of one run, towards an estimated number of rows."""

    def __init__(self, context: MigrationContext, title: str, estimate: int, *, begins_at: int) -> None:
        self._report = context.opts.get("report") or functools.partial(print, file=sys.stderr)
        self._title = title
        self._estimate = estimate
        self._begun = self._said = time.monotonic()
        self._begins_at = begins_at
        if begins_at:
            self._report(f"{title}: goes on after {begins_at:,} rows")

    def update(self, rows: int) -> None:
        """Show that this many rows are done."""
        if sys.stderr.isatty():
            share = min(1.0, rows / self._estimate) if self._estimate else 0.0
            bar = ("#" * round(WIDTH * share)).ljust(WIDTH, ".")
            sys.stderr.write(f"\r{self._title} [{bar}] {self._format(rows)} ")
            sys.stderr.flush()
        elif time.monotonic() - self._said >= REPORT_INTERVAL_SECONDS:
            self._said = time.monotonic()
            self._report(f"{self._title}: {self._format(rows)}")

    def finish(self, rows: int) -> None:
        """Say that all is done."""
        if sys.stderr.isatty():
            sys.stderr.write("\n")
        self._report(f"{self._title}: done, {rows:,} rows in {time.monotonic() - self._begun:.1f} s")

    def _format(self, rows: int) -> str:
        rate = (rows - self._begins_at) / max(time.monotonic() - self._begun, 1e-3)
        return f"{rows:,} rows of about {max(rows, self._estimate):,}, {rate:,.0f}/s"
