"""The cluster on disk: created completely or not at all, and never overwritten."""

import os
import shutil
import signal
import subprocess
from pathlib import Path

from adapters.embedded.binaries import PostgresInstallation
from adapters.embedded.child_processes import child_options
from adapters.embedded.os_user import OsUser
from adapters.embedded.paths import EmbeddedPostgresError, Paths

SUPERUSER = "hexapost"
DATABASE = "hexapost"
TIMEOUT_SECONDS = 120
LOCALE = ("--locale-provider=builtin", "--builtin-locale=C.UTF-8")
"""The same sort order on every system."""
LOCALE_SINCE = 17


def has_cluster(paths: Paths, binaries: PostgresInstallation) -> bool:
    """Return True if a complete cluster exists, and False if the path is free.

    Raises EmbeddedPostgresError for an incomplete cluster, and for a cluster of another major version.
    """
    data, major = paths.data, str(binaries.version_numbers[0])
    if not os.path.lexists(data):
        return False
    if not (data / "PG_VERSION").is_file() or not (data / "global" / "pg_control").is_file():
        raise EmbeddedPostgresError(f"{data} is not a complete PostgreSQL cluster. Move or delete it to get a new one.")
    if (version := (data / "PG_VERSION").read_text().strip()) != major:
        raise EmbeddedPostgresError(
            f"{data} was made by PostgreSQL {version}, but PostgreSQL {major} was found. Install PostgreSQL {version}, "
            f"or transfer the data with pg_upgrade or pg_dump, or delete {data} if you do not need it."
        )
    return True


def create_cluster(
    paths: Paths, binaries: PostgresInstallation, os_user: OsUser, *, log: int, lock: int, durable: bool
) -> None:
    """Create a cluster with the database in a temporary directory, and rename that to its final path.

    The programs inherit the descriptor of the server's lock, so that a concurrent start waits for them.
    Raises EmbeddedPostgresError if one of them fails.
    """
    if os.path.lexists(paths.unfinished_data):
        shutil.rmtree(paths.unfinished_data)
    options = child_options(os_user=os_user, log=log, lock=lock, death_signal=signal.SIGKILL)

    def run(program: str, *arguments: str, statement: str = "") -> None:
        command: list[str | Path] = [binaries.directory / program, *arguments]
        try:
            subprocess.run(command, input=statement.encode(), timeout=TIMEOUT_SECONDS, check=True, **options)  # noqa: S603
        except subprocess.SubprocessError as error:
            raise EmbeddedPostgresError(
                f"PostgreSQL could not create a cluster in {paths.directory}:\n{paths.last_log_lines()}"
            ) from error

    data = os.fspath(paths.unfinished_data)
    locale = ("--encoding=UTF8", "--locale=C", *(LOCALE if binaries.version_numbers[0] >= LOCALE_SINCE else ()))
    run("initdb", "-D", data, "--no-sync", "--username", SUPERUSER, "--auth=trust", *locale)
    single = ("--single", "-D", data, "-c", "fsync=off", "-c", "exit_on_error=on", "postgres")
    run("postgres", *single, statement=f"CREATE DATABASE {DATABASE}\n")
    if durable:
        run("initdb", "-D", data, "--sync-only")
    paths.unfinished_data.rename(paths.data)
    directory = os.open(paths.directory, os.O_RDONLY)
    os.fsync(directory)
    os.close(directory)
