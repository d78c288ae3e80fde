"""Tests for the libraries that a process loads: others would cost memory in each worker, and time at each start."""

import subprocess
import sys

import pytest

PROGRAM = "import sys\n{}\nprint(*sys.modules)"
HELP = "from adapters.cli.main import main\nmain(['--help'])"
DATABASE = "from adapters.postgres.schema.state import read_revisions\nread_revisions()"


@pytest.mark.parametrize(
    ("statements", "forbidden"),
    [
        (HELP, {"alembic", "asyncpg", "cryptography", "fastapi", "psycopg", "pydantic", "sqlalchemy", "uvicorn"}),
        (f"import adapters.cli.main, adapters.server.worker\n{DATABASE}", {"alembic", "mako", "psycopg"}),
        (
            f"import adapters.cli.serve, adapters.cli.database, adapters.server.supervisor\n{DATABASE}",
            {"alembic", "mako", "psycopg"},
        ),
    ],
    ids=["help", "worker", "serve"],
)
def test_process_does_not_load_libraries_of_other_commands(statements: str, forbidden: set[str]) -> None:
    done = subprocess.run(  # noqa: S603 - the program above
        [sys.executable, "-c", PROGRAM.format(statements)], capture_output=True, check=True, text=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert "adapters" in loaded
    assert loaded & forbidden == set()
