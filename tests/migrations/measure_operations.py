"""`python -m tests.migrations.measure_operations`: the table of docs/migrations.md, on the server of DATABASE_URL.

Runs each operation in its unsafe and its safe form on the same posts. Reports the strongest lock that blocks writers,
its duration, and the total duration.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import make_url

from adapters.settings import database_url
from migrations.lint.lock_trace import temporary_database, trace
from migrations.lint.statement_observer import StatementReport
from migrations.runner.lock_retry import LockRetryPolicy
from tests.migrations.revision_fixtures import Revisions

KEY = 'key=("author_id", "id")'
FORMS = [
    'op.create_index("ix_m1", "posts", ["title"])',
    'op.create_index_concurrently("ix_m2", "posts", ["title"])',
    'op.drop_index("ix_m1", "posts")',
    'op.drop_index_concurrently("ix_m2", "posts")',
    'op.create_foreign_key("fk_m1", "posts", "users", ["author_id"], ["id"])',
    'op.add_foreign_key("fk_m2", "posts", "users", ["author_id"], ["id"])',
    'op.create_check_constraint("ck_m1", "posts", "char_length(title) > 0")',
    'op.add_check("ck_m2", "posts", "char_length(title) > 0")',
    'op.alter_column("posts", "published_at", nullable=False)',
    'op.drop_not_null("posts", "published_at")',
    'op.add_not_null("posts", "published_at")',
    'op.create_unique_constraint("uq_m1", "posts", ["id"])',
    'op.add_unique("uq_m2", "posts", ["id"])',
    'op.add_column("posts", sa.Column("a", sa.Uuid(), server_default=sa.func.gen_random_uuid()))',
    'op.add_column("posts", sa.Column("b", sa.Uuid()), if_not_exists=True)\n'
    'op.backfill("posts", "b = gen_random_uuid()", ' + KEY + ")",
    'op.execute("UPDATE posts SET a = id")',
    'op.backfill("posts", "b = id", ' + KEY + ")",
    'op.alter_column("posts", "version", type_=sa.Numeric())',
]


def row(form: str, reports: Sequence[StatementReport]) -> str:
    """Return the measurements of one form as a line of the table."""
    worst = max(reports, key=lambda each: (bool(each.write_blocked_tables), each.milliseconds))
    lock = ", ".join(f"{worst.locks[table]} on {table}" for table in worst.write_blocked_tables) or ", ".join(
        sorted(set(worst.locks.values()))
    )
    blocked = f"{worst.milliseconds:,.1f} ms" if worst.write_blocked_tables else "no time"
    for each in reports:
        if each.executions > 1:
            blocked += f"; each of {each.executions:,} batches at most {each.milliseconds:,.0f} ms"
    total = sum(each.total for each in reports)
    return f"| `{form}` | {lock} | {blocked} | {total:,.0f} ms |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args().rows
    with TemporaryDirectory() as directory, temporary_database(make_url(database_url())) as url:
        own = Revisions(Path(directory))
        forms = {own.add(form): form for form in FORMS}
        config = own.config(url, lock_retry_policy=LockRetryPolicy(statement_timeout=3600))
        for script, reports in trace(config, url, rows, parallel=True):
            if script.revision in forms:
                sys.stdout.write(row(forms[script.revision], reports).replace("\n", "; ") + "\n")
                sys.stdout.flush()


if __name__ == "__main__":
    main()
