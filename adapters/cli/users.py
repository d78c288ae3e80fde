"""`hexapost users`: exports and erases the data of users.

Only the result is written to standard output, so that it can be piped. Messages go to standard error.
"""

import os
import sys
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import IO, TYPE_CHECKING, Annotated
from uuid import UUID

from typer import Argument, BadParameter, Exit, Option, Typer

from adapters.cli.arguments import Embedded, parse_id
from adapters.cli.console import print_result, print_status_to_stderr
from application.authorization import SYSTEM_PRINCIPAL
from domain.audit import ErasureNotFoundError
from domain.users import UserNotFoundError

if TYPE_CHECKING:
    from application.user_export import ExportPage, UserExportService
    from domain.audit import ErasureReceipt

MAX_PAUSE_SECONDS = 600.0
"""How long the reader of the output can pause. Meanwhile, the transaction is idle."""

app = Typer(help="Export and erase the data of users.", rich_markup_mode=None)


@app.command()
def export(
    id: Annotated[UUID, Argument(parser=parse_id, metavar="ID", help="ID of the user.")],
    *,
    output: Annotated[
        Path | None, Option(metavar="FILE", help="Write to this file. By default, to standard output.")
    ] = None,
    force: Annotated[bool, Option("--force", help="Replace the file if it exists.")] = False,
    embedded: Embedded = False,
) -> None:
    """Write everything that is stored about a user, as one JSON document."""
    import asyncio

    from adapters.cli.database import open_service, selected_database
    from adapters.http.routers.user_export import export_document

    async def run(stream: IO[bytes]) -> None:
        async with (
            open_service(patient, url) as container,
            aclosing(_with_progress(container.user_export(), id)) as pages,
            aclosing(export_document(pages)) as document,
        ):
            async for part in document:
                stream.write(part)
        stream.write(b"\n")
        stream.flush()

    with selected_database(embedded=embedded, report=print_status_to_stderr) as (settings, url):
        patient = settings.model_copy(update={"db_idle_in_transaction_timeout_seconds": MAX_PAUSE_SECONDS})
        try:
            if output is None:
                asyncio.run(run(sys.stdout.buffer))
            else:
                with _new_file(output, force=force) as file:
                    asyncio.run(run(file))
        except UserNotFoundError as error:
            raise BadParameter(str(error)) from error
    print_status_to_stderr(f"exported user {id}")


@app.command()
def erase(
    id: Annotated[UUID, Argument(parser=parse_id, metavar="ID", help="ID of the user.")],
    *,
    yes: Annotated[bool, Option("--yes", help="Erase without a question. Required without a terminal.")] = False,
    embedded: Embedded = False,
) -> None:
    """Delete a user and all data about them, and print the receipt as JSON."""
    import asyncio

    from pydantic_core import to_json

    from adapters.cli.database import open_service, selected_database
    from adapters.http.routers.erasures import receipt_response

    async def run() -> "ErasureReceipt":
        async with open_service(settings, url) as container:
            with suppress(UserNotFoundError):  # the receipt of an earlier erasure remains
                await container.users().delete(SYSTEM_PRINCIPAL, id)
            return await container.audit().get_erasure(SYSTEM_PRINCIPAL, id)

    if not yes:
        _require_confirmation(id)
    with selected_database(embedded=embedded, report=print_status_to_stderr) as (settings, url):
        try:
            receipt = asyncio.run(run())
        except ErasureNotFoundError as error:
            raise BadParameter(UserNotFoundError.message) from error
    print_result(to_json(receipt_response(receipt)).decode())
    print_status_to_stderr(f"erased user {id}")


def _require_confirmation(user_id: UUID) -> None:
    """Ask the operator. Raises BadParameter without a terminal, and Exit unless the answer is yes."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise BadParameter("required without a terminal", param_hint="'--yes'")
    print(f"Erase user {user_id} and all data about them? [y/N] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    answer = ""
    with suppress(KeyboardInterrupt):
        answer = sys.stdin.readline().strip().lower()
    if answer not in {"y", "yes"}:
        print_status_to_stderr("the user was not erased")
        raise Exit(1)


async def _with_progress(service: "UserExportService", user_id: UUID) -> "AsyncGenerator[ExportPage]":
    """Yield the pages of an export. Show their progress if standard error is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}"), TimeElapsedColumn()
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        tasks = {}
        async with aclosing(service.export(SYSTEM_PRINCIPAL, user_id)) as pages:
            async for page in pages:
                if page.table not in tasks:
                    tasks[page.table] = progress.add_task(page.table.replace("_", " "), total=None)
                progress.advance(tasks[page.table], len(page.entities))
                yield page


@contextmanager
def _new_file(path: Path, *, force: bool) -> Iterator[IO[bytes]]:
    """Yield a temporary file that only its owner can read. It gets its name if the block ends without an error."""
    if os.path.lexists(path) and not (force and path.is_file()):
        raise _exists()
    with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        try:
            yield file.file
            os.fsync(file.fileno())
            if force:
                Path(file.name).replace(path)
            else:
                os.link(file.name, path)  # fails if the file exists
        except FileExistsError:
            raise _exists() from None
        finally:
            Path(file.name).unlink(missing_ok=True)


def _exists() -> BadParameter:
    return BadParameter("must be a new file, or with --force an existing one", param_hint="'--output'")
