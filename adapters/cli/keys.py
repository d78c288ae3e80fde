"""`hexapost keys`: creates, lists, rotates and revokes API keys.

Only the result is printed to standard output, so that it can be piped. Messages go to standard error.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime

from sqlalchemy import URL

from adapters.cli.arguments import UsageError
from adapters.cli.console import print_result, print_status_to_stderr
from adapters.cli.database import selected_database
from adapters.cli.secret_files import key_peppers, pepper_file
from adapters.cli.service_context import NO_PEPPERS, open_service
from adapters.clock import utc_now
from adapters.settings import Settings
from application.api_key_tokens import PepperSet
from application.api_keys import ApiKeyService, CreatedApiKey
from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import ApiKey, ApiKeyNotFoundError
from domain.errors import DomainError, FieldValidationError

PAGE_SIZE = 100
HEADER = ("ID", "NAME", "SCOPES", "USER", "CREATED", "EXPIRES", "LAST USED", "STATE", "PEPPER")


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Execute the action. Raises UsageError if a rule rejects the arguments."""
    with selected_database(settings, embedded=options.embedded, report=print_status_to_stderr) as url:
        try:
            asyncio.run(_dispatch(settings, url, options))
        except FieldValidationError as error:
            raise UsageError(f"{_option_name(error.field, options)}: {error}") from error
        except DomainError as error:
            raise UsageError(str(error)) from error
    return 0


async def _dispatch(settings: Settings, url: URL, options: argparse.Namespace) -> None:
    peppers = _peppers(settings) if options.action in {"create", "rotate"} else NO_PEPPERS
    async with open_service(settings, url, peppers=peppers) as container:
        await _ACTIONS[options.action](container.api_keys(), options)
    if options.action == "revoke":
        print_status_to_stderr(f"running processes reject the key within {settings.api_key_cache_seconds:g} s")


def _peppers(settings: Settings) -> PepperSet:
    """Return the peppers. Print a hint if a local pepper is used with a shared database."""
    if settings.database_url is not None and settings.api_key_peppers is None:
        print_status_to_stderr(
            f"using the pepper in {pepper_file(settings)}; the service needs the same (HEXAPOST_API_KEY_PEPPERS)"
        )
    return key_peppers(settings)


async def _create(keys: ApiKeyService, options: argparse.Namespace) -> None:
    expires_at = options.expires_at if options.expires_in is None else utc_now() + options.expires_in
    created = await keys.create(
        SYSTEM_PRINCIPAL, name=options.name, scopes=options.scopes, user_id=options.user_id, expires_at=expires_at
    )
    await _print_created(keys, created)


async def _rotate(keys: ApiKeyService, options: argparse.Namespace) -> None:
    await keys.get(SYSTEM_PRINCIPAL, options.id)  # fails with a different error for an unknown key
    try:
        created = await keys.rotate(SYSTEM_PRINCIPAL, options.id, until=utc_now() + options.overlap)
    except ApiKeyNotFoundError:
        message = "The key is revoked or expired. Create a new one with `hexapost keys create`."
        raise UsageError(message) from None
    await _print_created(keys, created)
    before = await keys.get(SYSTEM_PRINCIPAL, options.id)
    print_status_to_stderr(f"the key {before.id} {_expiry_text(before.expires_at)}")


async def _revoke(keys: ApiKeyService, options: argparse.Namespace) -> None:
    await keys.revoke(SYSTEM_PRINCIPAL, options.id)
    print_status_to_stderr(f"revoked key {options.id}")


async def _list(keys: ApiKeyService, _: argparse.Namespace) -> None:
    found: list[ApiKey] = []
    while True:
        page = await keys.list(SYSTEM_PRINCIPAL, limit=PAGE_SIZE, after=found[-1].id if found else None)
        found += page.items
        if page.next_after is None:
            print_result(api_key_table(found, utc_now()))
            return


async def _print_created(keys: ApiKeyService, created: CreatedApiKey) -> None:
    """Print the key and its expiry. Revoke it if it cannot be printed."""
    try:
        print_result(created.text)
    except OSError:
        await keys.revoke(SYSTEM_PRINCIPAL, created.key.id)
        raise
    print_status_to_stderr(f"created key {created.key.id}; it {_expiry_text(created.key.expires_at)}")


def api_key_table(keys: Iterable[ApiKey], now: datetime) -> str:
    """Return a header line and a line for each key, in aligned columns."""
    rows = [HEADER, *(_row(key, now) for key in keys)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[text.ljust(width) for text, width in zip(row, widths, strict=True)] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)


def _row(key: ApiKey, now: datetime) -> tuple[str, ...]:
    return (
        str(key.id),
        key.name,
        ",".join(sorted(key.scopes)),
        "-" if key.user_id is None else str(key.user_id),
        *map(_format_timestamp, (key.created_at, key.expires_at, key.last_used_at)),
        "revoked" if key.revoked_at is not None else "live" if key.is_active(now) else "expired",
        str(key.secret_hash.pepper),
    )


def _format_timestamp(at: datetime | None) -> str:
    """Return a time in UTC to the second, or a dash for None."""
    return "-" if at is None else f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _expiry_text(at: datetime | None) -> str:
    return "does not expire" if at is None else f"expires at {_format_timestamp(at)}"


def _option_name(field: str, options: argparse.Namespace) -> str:
    """Return the option of a field."""
    if field == "expires_at" and options.expires_in is not None:
        return "--expires-in"
    return f"--{field.replace('_', '-').replace('scopes', 'scope')}"


_ACTIONS: Mapping[str, Callable[[ApiKeyService, argparse.Namespace], Awaitable[None]]] = {
    "create": _create,
    "list": _list,
    "revoke": _revoke,
    "rotate": _rotate,
}
