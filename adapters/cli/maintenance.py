"""The commands of a deployment: `check`, `migrate`, `purge`, `with-database` and `openapi`."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Literal

from typer import Argument, BadParameter, Option

from adapters.cli.arguments import Embedded
from adapters.cli.console import print_error, print_status

if TYPE_CHECKING:
    from sqlalchemy import URL

    from application.retention import RetentionRule

STDERR = 2


@contextmanager
def immediate_exit(command: str) -> Iterator[None]:
    """End the process at the first SIGINT or SIGTERM during the block, with one line.

    A normal exit closes the connections, and waits for a silent server. PostgreSQL rolls back when a connection ends.
    """

    def end_process(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
        with suppress(OSError):
            if select.select([], [STDERR], [], 0)[1]:  # a full pipe would block
                os.write(STDERR, f"hexapost: {command} was stopped by {signal.Signals(number).name}\n".encode())
        os._exit(128 + number)

    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number, handler in previous.items():
        if handler != signal.SIG_IGN:  # nohup
            signal.signal(number, end_process)
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def check(*, embedded: Embedded = False) -> int:
    """Check the settings and the readiness of the database."""
    import asyncio

    from adapters.cli.database import check_database, selected_database
    from adapters.database_url import hosts_of
    from adapters.settings import DATABASE_URL

    with selected_database(embedded=embedded) as (settings, url):
        print_status("settings OK")
        components, pending = asyncio.run(check_database(settings, url))
    if len(hosts_of(url)) > 1 and "target_session_attrs" not in url.query:
        print_status(f"warning: several hosts in {DATABASE_URL} require target_session_attrs=read-write")
    for line in pending:
        print_status(line)
    for name, (ready, detail) in components.items():
        print_status(f"{name}: {detail}{'' if ready else ' (NOT READY)'}")
    return 0 if all(ready for ready, _ in components.values()) else 1


def migrate(
    *,
    phase: Annotated[
        Literal["expand", "contract"] | None,
        Option(
            help="`contract` also removes columns and tables that only older releases need. Default: `expand`; "
            "both phases for a new database."
        ),
    ] = None,
    allow_unsafe: Annotated[
        bool, Option("--allow-unsafe", help="Apply revisions that the linter of `make check` rejects.")
    ] = False,
    embedded: Embedded = False,
) -> None:
    """Apply pending migrations."""
    from adapters.cli.database import selected_database

    with selected_database(embedded=embedded) as (_, url):
        apply_migrations(url, phase, allow_unsafe=allow_unsafe)


def apply_migrations(url: "URL", phase: str | None = None, *, allow_unsafe: bool = False) -> None:
    """Apply the pending migrations of a phase. Raises MigrationError if one fails or is unsafe."""
    from adapters.postgres.schema.upgrade import upgrade
    from migrations.runner.revisions import Phase

    with immediate_exit("migrate"):
        upgrade(url, print_status, Phase(phase) if phase else None, allow_unsafe=allow_unsafe)
    print_status("schema is up to date")


def purge(
    *,
    dry_run: Annotated[bool, Option("--dry-run", help="Only print the number of rows of each rule.")] = False,
    embedded: Embedded = False,
) -> None:
    """Delete expired data, as the service does regularly."""
    import asyncio

    from adapters.cli.database import open_service, selected_database

    async def delete_or_count() -> "Mapping[RetentionRule, int]":
        async with open_service(settings, url) as container:
            retention = container.retention()
            return await (retention.count_expired() if dry_run else retention.purge())

    with selected_database(embedded=embedded) as (settings, url), immediate_exit("purge"):
        rows = asyncio.run(delete_or_count())
    for rule, number in rows.items():
        noun = rule.value.replace("-", " ").removesuffix("s" if number == 1 else "")
        print_status(f"{'would delete' if dry_run else 'deleted'} {number} expired {noun}")


def with_database(
    command: Annotated[list[str], Argument(metavar="COMMAND", help="The command and its arguments.")],
    *,
    embedded: Embedded = False,
) -> int:
    """Run a command with DATABASE_URL set."""
    from adapters.cli.database import environment_with, selected_database

    with selected_database(embedded=embedded) as (_, url):
        return subprocess.run(command, env=environment_with(url), check=False).returncode  # noqa: S603 - of the user


def openapi(
    *,
    check: Annotated[Path | None, Option(metavar="FILE", help="Fail if the file differs from the document.")] = None,
    write: Annotated[Path | None, Option(metavar="FILE", help="Write the document to the file.")] = None,
) -> int:
    """Print the OpenAPI document, or compare it with a file."""
    from adapters.cli.database import service_container
    from adapters.database_url import parse_database_url
    from adapters.http.openapi.document import openapi_document
    from adapters.settings import load_settings

    if check and write:
        raise BadParameter("not allowed with --write", param_hint="'--check'")
    # The document requires an application, which connects to no database.
    url = parse_database_url("postgresql://localhost/nothing")
    document = openapi_document(service_container(load_settings(), url).app())
    if write:
        write.write_text(document, encoding="utf-8")
        print_status(f"wrote {write}")
    elif not check:
        print(document, end="")  # noqa: T201 - the result of the command
    elif check.read_text(encoding="utf-8") == document:
        print_status(f"{check} is up to date")
    else:
        print_error(f"{check} differs from the code. Run: hexapost openapi --write {check}")
        return 1
    return 0
