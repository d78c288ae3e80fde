"""Shows the progress of a backfill: a bar on a terminal, a line every 10 seconds elsewhere."""

import sys
import time

from alembic.runtime.migration import MigrationContext

WIDTH = 30
REPORT_INTERVAL_SECONDS = 10.0


class ProgressBar:
    """The progress of one run toward an estimated number of rows."""

    def __init__(self, context: MigrationContext, title: str, estimate: int, *, start: int) -> None:
        self._report = context.opts["report"]
        self._title = title
        self._estimate = estimate
        self._started = self._reported = time.monotonic()
        self._start = start
        if start:
            self._report(f"{title}: continues after {start:,} rows")

    def update(self, rows: int) -> None:
        """Show the number of updated rows."""
        if sys.stderr.isatty():
            share = min(1.0, rows / self._estimate) if self._estimate else 0.0
            bar = ("#" * round(WIDTH * share)).ljust(WIDTH, ".")
            sys.stderr.write(f"\r{self._title} [{bar}] {self._format(rows)} ")
            sys.stderr.flush()
        elif time.monotonic() - self._reported >= REPORT_INTERVAL_SECONDS:
            self._reported = time.monotonic()
            self._report(f"{self._title}: {self._format(rows)}")

    def finish(self, rows: int) -> None:
        """Report the total."""
        if sys.stderr.isatty():
            sys.stderr.write("\n")
        self._report(f"{self._title}: done, {rows:,} rows in {time.monotonic() - self._started:.1f} s")

    def _format(self, rows: int) -> str:
        rate = (rows - self._start) / max(time.monotonic() - self._started, 1e-3)
        return f"{rows:,} rows of about {max(rows, self._estimate):,}, {rate:,.0f}/s"
