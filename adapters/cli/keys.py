"""`hexapost keys`: creates, lists, rotates and revokes API keys.

Only the result is printed to standard output, so that it can be piped. Messages go to standard error.
"""

import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

from typer import Argument, BadParameter, Option, Typer

from adapters.cli.arguments import Embedded, parse_datetime, parse_duration, parse_id, parse_id_or_key
from adapters.cli.console import print_result, print_status_to_stderr
from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import ApiKeyNotFoundError, Scope
from domain.errors import DomainError, FieldValidationError

if TYPE_CHECKING:
    from adapters.settings import Settings
    from application.api_key_tokens import PepperSet
    from application.api_keys import ApiKeyService, CreatedApiKey
    from domain.api_keys import ApiKey

PAGE_SIZE = 100

app = Typer(help="Create, list, rotate and revoke API keys.", rich_markup_mode=None)


@app.command()
def create(
    *,
    name: Annotated[str, Option(help="Label of the key, in one line.")],
    scope: Annotated[list[Scope], Option(help="Scope to grant; can be repeated.")],
    user_id: Annotated[
        UUID | None, Option(parser=parse_id, metavar="ID", help="ID of the user to which the key is bound.")
    ] = None,
    expires_in: Annotated[
        timedelta | None, Option(parser=parse_duration, metavar="TIME", help="Lifetime, such as 90d or 12h.")
    ] = None,
    expires_at: Annotated[
        datetime | None, Option(parser=parse_datetime, metavar="TIME", help="Expiry, such as 2030-01-31T12:00:00Z.")
    ] = None,
    embedded: Embedded = False,
) -> None:
    """Create an API key and print it; it is not shown again."""
    if expires_in is not None and expires_at is not None:
        raise BadParameter("not allowed with --expires-at", param_hint="'--expires-in'")

    async def action(keys: "ApiKeyService") -> None:
        expiry = expires_at if expires_in is None else await keys.now(SYSTEM_PRINCIPAL) + expires_in
        created = await keys.create(SYSTEM_PRINCIPAL, name=name, scopes=scope, user_id=user_id, expires_at=expiry)
        await _print_created(keys, created)

    try:
        _run(action, embedded=embedded, creates_keys=True)
    except FieldValidationError as error:
        options = {"scopes": "scope", "expires_at": "expires_at" if expires_in is None else "expires_in"}
        option = options.get(error.field, error.field).replace("_", "-")
        raise BadParameter(str(error), param_hint=f"'--{option}'") from error


@app.command("list")
def list_keys(*, embedded: Embedded = False) -> None:
    """Print all API keys as a table, newest first."""
    from rich.console import Console

    from adapters.cli.key_table import api_key_table

    async def action(keys: "ApiKeyService") -> None:
        found: list[ApiKey] = []
        while True:
            page = await keys.list(SYSTEM_PRINCIPAL, limit=PAGE_SIZE, after=found[-1].id if found else None)
            found += page.items
            if page.next_after is None:
                break
        now = await keys.now(SYSTEM_PRINCIPAL)
        print_result(api_key_table(found, now, Console(force_terminal=sys.stdout.isatty())))

    _run(action, embedded=embedded)


@app.command()
def revoke(
    id: Annotated[UUID, Argument(parser=parse_id_or_key, metavar="ID", help="ID of the key, or the key itself.")],
    *,
    embedded: Embedded = False,
) -> None:
    """Revoke an API key."""

    async def action(keys: "ApiKeyService") -> None:
        await keys.revoke(SYSTEM_PRINCIPAL, id)
        print_status_to_stderr(f"revoked key {id}")

    settings = _run(action, embedded=embedded)
    print_status_to_stderr(f"running processes reject the key within {settings.api_key_cache_seconds:g} s")


@app.command()
def rotate(
    id: Annotated[UUID, Argument(parser=parse_id, metavar="ID", help="ID of the key.")],
    *,
    overlap: Annotated[
        timedelta,
        Option(parser=parse_duration, metavar="TIME", help="How long the old key stays valid, such as 0s."),
    ] = "24h",  # type: ignore[assignment]  # the parser converts it
    embedded: Embedded = False,
) -> None:
    """Create a replacement for an API key, print it, and let the old key expire."""
    from adapters.cli.key_table import expiry_text

    async def action(keys: "ApiKeyService") -> None:
        await keys.get(SYSTEM_PRINCIPAL, id)  # fails with a different error for an unknown key
        try:
            created = await keys.rotate(SYSTEM_PRINCIPAL, id, until=await keys.now(SYSTEM_PRINCIPAL) + overlap)
        except ApiKeyNotFoundError:
            message = "The key is revoked or expired. Create a new one with `hexapost keys create`."
            raise BadParameter(message) from None
        await _print_created(keys, created)
        before = await keys.get(SYSTEM_PRINCIPAL, id)
        print_status_to_stderr(f"the key {before.id} {expiry_text(before.expires_at)}")

    _run(action, embedded=embedded, creates_keys=True)


def _run(
    action: "Callable[[ApiKeyService], Awaitable[None]]", *, embedded: bool, creates_keys: bool = False
) -> "Settings":
    """Execute an action and return the settings. Raises BadParameter if a rule rejects the arguments."""
    import asyncio

    from adapters.cli.database import NO_PEPPERS, open_service, selected_database

    async def run() -> None:
        peppers = _peppers(settings) if creates_keys else NO_PEPPERS
        async with open_service(settings, url, peppers=peppers) as container:
            await action(container.api_keys())

    with selected_database(embedded=embedded, report=print_status_to_stderr) as (settings, url):
        try:
            asyncio.run(run())
        except FieldValidationError:
            raise
        except DomainError as error:
            raise BadParameter(str(error)) from error
    return settings


def _peppers(settings: "Settings") -> "PepperSet":
    """Return the peppers. Print a hint if a local pepper is used with a shared database."""
    from adapters.secret_files import key_peppers, pepper_file

    if settings.database_url is not None and settings.api_key_peppers is None:
        print_status_to_stderr(
            f"using the pepper in {pepper_file(settings)}; the service needs the same (HEXAPOST_API_KEY_PEPPERS)"
        )
    return key_peppers(settings)


async def _print_created(keys: "ApiKeyService", created: "CreatedApiKey") -> None:
    """Print the key and its expiry. Revoke it if it cannot be printed."""
    from adapters.cli.key_table import expiry_text

    try:
        print_result(created.text)
    except OSError:
        await keys.revoke(SYSTEM_PRINCIPAL, created.key.id)
        raise
    print_status_to_stderr(f"created key {created.key.id}; it {expiry_text(created.key.expires_at)}")
