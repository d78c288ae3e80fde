"""`hexapost keys`: creates, lists, rotates and revokes API keys.

Only the result is printed to standard output, so that it can be piped. Messages go to standard error.
"""

import argparse
import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime

from sqlalchemy import URL

from adapters.cli.databases import with_database
from adapters.cli.errors import MisusedError
from adapters.cli.key_table import key_table, shown
from adapters.cli.opened import NO_PEPPERS, opened
from adapters.cli.output import hand_over, remark
from adapters.cli.secrets import key_peppers, pepper_file
from adapters.clock import utc_now
from adapters.settings import Settings
from application.api_key_tokens import PepperSet
from application.api_keys import ApiKeyService, CreatedApiKey
from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import ApiKey, ApiKeyNotFoundError
from domain.errors import DomainError, FieldValidationError

PAGE = 100


def run(settings: Settings, options: argparse.Namespace) -> int:
    """Execute the action. Raises MisusedError if a rule rejects the arguments."""
    with with_database(settings, embedded=options.embedded, report=remark) as url:
        try:
            asyncio.run(_act(settings, url, options))
        except FieldValidationError as error:
            raise MisusedError(f"{_option(error.field, options)}: {error}") from error
        except DomainError as error:
            raise MisusedError(str(error)) from error
    return 0


async def _act(settings: Settings, url: URL, options: argparse.Namespace) -> None:
    peppers = _peppers(settings) if options.action in _MAKING else NO_PEPPERS
    async with opened(settings, url, peppers=peppers) as container:
        await _ACTIONS[options.action](container.api_keys(), options)
    if options.action == "revoke":
        remark(f"running processes reject the key within {settings.api_key_cache_seconds:g} s")


def _peppers(settings: Settings) -> PepperSet:
    """Return the peppers. Print a hint if a local pepper is used with a shared database."""
    if settings.database_url is not None and settings.api_key_peppers is None:
        remark(f"using the pepper in {pepper_file(settings)}; the service needs the same (HEXAPOST_API_KEY_PEPPERS)")
    return key_peppers(settings)


async def _create(keys: ApiKeyService, options: argparse.Namespace) -> None:
    expires_at = options.expires_at if options.expires_in is None else utc_now() + options.expires_in
    issued = await keys.create(
        SYSTEM_PRINCIPAL, name=options.name, scopes=options.scopes, user_id=options.user_id, expires_at=expires_at
    )
    await _hand_over(keys, issued)
    remark(f"created key {issued.key.id}; it {_end(issued.key.expires_at)}")


async def _rotate(keys: ApiKeyService, options: argparse.Namespace) -> None:
    await keys.get(SYSTEM_PRINCIPAL, options.id)  # fails with a different error for an unknown key
    try:
        issued = await keys.rotate(SYSTEM_PRINCIPAL, options.id, until=utc_now() + options.overlap)
    except ApiKeyNotFoundError:
        message = "The key is revoked or expired. Create a new one with `hexapost keys create`."
        raise MisusedError(message) from None
    await _hand_over(keys, issued)
    before = await keys.get(SYSTEM_PRINCIPAL, options.id)
    remark(f"created key {issued.key.id}; it {_end(issued.key.expires_at)}")
    remark(f"the key {before.id} {_end(before.expires_at)}")


async def _revoke(keys: ApiKeyService, options: argparse.Namespace) -> None:
    await keys.revoke(SYSTEM_PRINCIPAL, options.id)
    remark(f"revoked key {options.id}")


async def _list(keys: ApiKeyService, _: argparse.Namespace) -> None:
    found: list[ApiKey] = []
    while True:
        page = await keys.list(SYSTEM_PRINCIPAL, limit=PAGE, after=found[-1].id if found else None)
        found += page.items
        if page.next_after is None:
            hand_over(key_table(found, utc_now()))
            return


async def _hand_over(keys: ApiKeyService, issued: CreatedApiKey) -> None:
    """Print the key. Revoke it if it cannot be printed."""
    try:
        hand_over(issued.text)
    except OSError:
        await keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
        raise


def _end(at: datetime | None) -> str:
    return "does not expire" if at is None else f"expires at {shown(at)}"


def _option(field: str, options: argparse.Namespace) -> str:
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
_MAKING = {"create", "rotate"}
