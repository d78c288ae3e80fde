"""Coverage of the daemons of the embedded PostgreSQL, which start without the environment of the tests."""

import os
import sys

from adapters.embedded import embedded_postgres


def enable_daemon_coverage() -> None:
    """Measure the coverage of daemons if the coverage of this process is measured."""
    measured = os.environ.get("COVERAGE_PROCESS_CONFIG")
    if measured is not None:
        embedded_postgres.PROGRAM = (
            f"import os, sys; os.environ['COVERAGE_PROCESS_CONFIG'] = {measured!r}; sys.path[1:1] = {sys.path[1:]!r}; "
            f"import coverage; coverage.process_startup(); {embedded_postgres.PROGRAM}"
        )
