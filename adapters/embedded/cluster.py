"""The cluster on disk: made whole or not at all, never made over."""

import os
import shutil
import signal
from pathlib import Path

from adapters.embedded.binaries import PostgresInstallation
from adapters.embedded.child_processes import spawn, wait_for_exit
from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.os_user import OsUser
from adapters.embedded.paths import Paths
from adapters.embedded.server_log import last_log_errors

SUPERUSER = "hexapost"
INITDB_TIMEOUT_SECONDS = 120
BUILTIN_LOCALES_SINCE = 17


def has_cluster(paths: Paths, binaries: PostgresInstallation) -> bool:
    """Tell whether there is a complete cluster; False means that the place is free for one.

    Raises EmbeddedPostgresError when it is of another major version or is something else.
    """
    data = paths.data
    if not os.path.lexists(data):
        return False
    if not (data / "PG_VERSION").is_file() or not (data / "global" / "pg_control").is_file():
        raise EmbeddedPostgresError(
            f"{data} is not a complete PostgreSQL cluster and was left as it is: move or delete it to get a new one."
        )
    version = (data / "PG_VERSION").read_text().strip()
    if version != str(binaries.major):
        raise EmbeddedPostgresError(
            f"{data} was made by PostgreSQL {version}, but {binaries.label} was found. Install PostgreSQL {version}, "
            f"or bring the data over with pg_upgrade or pg_dump, or delete {data} if it is not needed."
        )
    return True


def create_cluster(
    paths: Paths, binaries: PostgresInstallation, os_user: OsUser, *, log: int, lock: int, durable: bool
) -> None:
    """Make the cluster beside its place and moves it there when it is complete.

    `lock` is that of the server: while initdb or a child of it lives, no one else gets here.
    """
    if os.path.lexists(paths.unfinished_data):
        shutil.rmtree(paths.unfinished_data)

    def run(*arguments: str) -> None:
        command: list[str | Path] = [binaries.directory / "initdb", "-D", paths.unfinished_data, *arguments]
        child = spawn(command, os_user=os_user, log=log, lock=lock, death_signal=signal.SIGKILL)
        if not wait_for_exit(child, seconds=INITDB_TIMEOUT_SECONDS):
            child.kill()
            child.wait()
        if child.returncode != 0:
            raise EmbeddedPostgresError(
                f"PostgreSQL could not make its cluster in {paths.directory}:\n{last_log_errors(paths)}"
            )

    run("--no-sync", "--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", *_locale(binaries))
    if durable:
        run("--sync-only")
    paths.unfinished_data.rename(paths.data)
    directory = os.open(paths.directory, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _locale(binaries: PostgresInstallation) -> list[str]:
    """Return the options for a locale that is the same on every system."""
    if binaries.major < BUILTIN_LOCALES_SINCE:
        return ["--locale=C"]
    return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
