"""`hexapost audit`: lists audit entries."""

from typing import Annotated
from uuid import UUID

from typer import Option, Typer

from adapters.cli.arguments import Embedded, parse_id
from adapters.cli.console import print_result, print_status_to_stderr
from application.authorization import SYSTEM_PRINCIPAL

PAGE_SIZE = 100
COLUMNS = ("created_at", "operation", "subject_kind", "subject_id", "actor_kind", "actor_id", "request_id",
           "changed_fields", "version_before", "version_after")  # fmt: skip

app = Typer(help="List the changes of users, posts and API keys.", rich_markup_mode=None)


@app.callback()
def _group() -> None:
    pass  # with a callback, typer keeps the name of the only command


@app.command("list")
def list_entries(
    *,
    subject_id: Annotated[
        UUID | None, Option(parser=parse_id, metavar="ID", help="ID of the changed user, post or API key.")
    ] = None,
    actor_id: Annotated[
        UUID | None, Option(parser=parse_id, metavar="ID", help="ID of the API key that made the changes.")
    ] = None,
    limit: Annotated[int, Option(min=1, help="Maximum number of entries.")] = PAGE_SIZE,
    embedded: Embedded = False,
) -> None:
    """Print audit entries, newest first, with tabs between the columns."""
    import asyncio

    from adapters.cli.database import open_service, selected_database

    async def print_entries() -> None:
        async with open_service(settings, url) as container:
            print_result("\t".join(COLUMNS))
            after, rest = None, limit
            while rest:
                page = await container.audit().list(
                    SYSTEM_PRINCIPAL,
                    limit=min(rest, PAGE_SIZE),
                    after=after,
                    subject_id=subject_id,
                    actor_id=actor_id,
                )
                for entry in page.items:
                    print_result("\t".join(_text(getattr(entry, column)) for column in COLUMNS))
                if page.next_after is None:
                    return
                after, rest = page.items[-1].id, rest - len(page.items)

    with selected_database(embedded=embedded, report=print_status_to_stderr) as (settings, url):
        asyncio.run(print_entries())


def _text(value: object) -> str:
    """Return the text of a value, a dash for None and for no fields."""
    if isinstance(value, tuple):
        value = ",".join(value)
    return str(value) if value not in {None, ""} else "-"
