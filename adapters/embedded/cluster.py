"""The cluster on disk: made whole or not at all, never made over."""

import os
import shutil
import signal
from pathlib import Path

from adapters.embedded.account import Account
from adapters.embedded.binaries import Binaries
from adapters.embedded.children import spawn, wait_for
from adapters.embedded.errors import EmbeddedPostgresError
from adapters.embedded.layout import Layout
from adapters.embedded.logs import what_went_wrong

SUPERUSER = "hexapost"
INITDB_SECONDS = 120
BUILTIN_LOCALES_SINCE = 17


def has_cluster(layout: Layout, binaries: Binaries) -> bool:
    """Tell whether there is a complete cluster; False means that the place is free for one.

    Raises EmbeddedPostgresError when it is of another major version or is something else.
    """
    data = layout.data
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


def create_cluster(layout: Layout, binaries: Binaries, account: Account, *, log: int, lock: int, durable: bool) -> None:
    """Make the cluster beside its place and moves it there when it is complete.

    `lock` is that of the server: while initdb or a child of it lives, no one else gets here.
    """
    if os.path.lexists(layout.unfinished):
        shutil.rmtree(layout.unfinished)

    def run(*arguments: str) -> None:
        command: list[str | Path] = [binaries.directory / "initdb", "-D", layout.unfinished, *arguments]
        child = spawn(command, account=account, log=log, lock=lock, death_signal=signal.SIGKILL)
        if not wait_for(child, seconds=INITDB_SECONDS):
            child.kill()
            child.wait()
        if child.returncode != 0:
            raise EmbeddedPostgresError(
                f"PostgreSQL could not make its cluster in {layout.directory}:\n{what_went_wrong(layout)}"
            )

    run("--no-sync", "--username", SUPERUSER, "--auth", "trust", "--encoding", "UTF8", *_locale(binaries))
    if durable:
        run("--sync-only")
    layout.unfinished.rename(layout.data)
    directory = os.open(layout.directory, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _locale(binaries: Binaries) -> list[str]:
    """Return the options for a locale that is the same on every system."""
    if binaries.major < BUILTIN_LOCALES_SINCE:
        return ["--locale=C"]
    return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
