"""The admin key of the embedded database, for first requests during development."""

import asyncio
import fcntl
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL

from adapters.cli.opened import opened
from adapters.cli.output import complain, report
from adapters.cli.secrets import drafted, key_peppers
from adapters.settings import Settings
from application.api_key_tokens import parse_api_key_id
from application.api_keys import ApiKeyService
from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import ApiKey, ApiKeyNotFoundError, Scope

NAME = "admin"


def admin_header(settings: Settings, url: URL) -> str | None:
    """Return the header with the admin key, quoted for a shell, or None without a usable key.

    On the embedded database, the key is created if necessary. On any other database, a hint is printed. Precondition:
    the database is ready for this release.
    """
    if settings.database_url is not None:
        asyncio.run(_advise(settings, url))
        return None
    with _alone_in(settings.state_directory):
        return asyncio.run(_header(settings, url))


async def _advise(settings: Settings, url: URL) -> None:
    async with opened(settings, url, is_ready=True) as container:
        page = await container.api_keys().list(SYSTEM_PRINCIPAL, limit=1)
    if not page.items:
        words = " ".join(f"--scope {scope}" for scope in Scope)
        report(f"no API key exists yet. Create one: hexapost keys create --name {NAME} {words}")


async def _header(settings: Settings, url: URL) -> str | None:
    path = settings.state_directory / "admin.key"
    async with opened(settings, url, peppers=key_peppers(settings), is_ready=True) as container:
        keys = container.api_keys()
        key = await _found(keys, _text_in(path))
        if key is None:
            return f"'Authorization: Bearer {await _made(keys, path)}'"
        if key.is_active(keys.clock()):
            return f'"Authorization: Bearer $(cat {shlex.quote(str(path))})"'
    ended = "has expired" if key.revoked_at is None else "was revoked"
    complain(f"the key in {path} {ended}. Remove the file and start again to create a new one.")
    return None


def _text_in(path: Path) -> str:
    return path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""


async def _found(keys: ApiKeyService, text: str) -> ApiKey | None:
    """Return the key with this text, None if it is not a key of this database."""
    key_id = parse_api_key_id(text)
    if key_id is None:
        return None
    try:
        key = await keys.get(SYSTEM_PRINCIPAL, key_id)
    except ApiKeyNotFoundError:
        return None
    return key if keys.peppers.verify(text, key.secret_hash) else None


async def _made(keys: ApiKeyService, path: Path) -> str:
    """Create a key with all scopes, and store it in the file. Revoke it if it cannot be stored."""
    issued = await keys.create(SYSTEM_PRINCIPAL, name=NAME, scopes=Scope)
    try:
        with drafted(path, f"{issued.text}\n".encode()) as draft:
            draft.replace(path)
    except BaseException:
        await keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
        raise
    report(f"created an API key with all scopes in {path}")
    return issued.text


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """Execute the block in one process at a time."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
