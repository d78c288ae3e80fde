"""The admin key of the embedded database, for first requests during development."""

import asyncio
import fcntl
import os
import shlex
import sys
from pathlib import Path

from sqlalchemy import URL

from adapters.cli.console import print_error, print_status
from adapters.cli.database import open_service
from adapters.secret_files import atomic_write, key_peppers
from adapters.settings import Settings
from application.api_key_tokens import parse_api_key_id
from application.api_keys import ApiKeyService
from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import ApiKey, ApiKeyNotFoundError, Scope

ADMIN_KEY_NAME = "admin"


def ensure_admin_key_header(settings: Settings, url: URL) -> str | None:
    """Return the header with the admin key, quoted for a shell, or None without a usable key.

    On the embedded database, the key is created if necessary. On any other database, a hint is printed. Precondition:
    the database is ready for this release.
    """
    if settings.database_url is not None:
        asyncio.run(_print_create_hint(settings, url))
        return None
    directory = os.open(settings.state_directory, os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)  # concurrent starts create a single key
        return asyncio.run(_header_of_local_key(settings, url))
    finally:
        os.close(directory)


async def _print_create_hint(settings: Settings, url: URL) -> None:
    async with open_service(settings, url, skip_readiness_check=True) as container:
        page = await container.api_keys().list(SYSTEM_PRINCIPAL, limit=1)
    if not page.items:
        words = " ".join(f"--scope {scope}" for scope in Scope)
        print_status(f"no API key exists yet. Create one: hexapost keys create --name {ADMIN_KEY_NAME} {words}")


async def _header_of_local_key(settings: Settings, url: URL) -> str | None:
    path = settings.state_directory / "admin.key"
    text = path.read_text(encoding="ascii", errors="replace").strip() if path.exists() else ""
    async with open_service(settings, url, peppers=key_peppers(settings), skip_readiness_check=True) as container:
        keys = container.api_keys()
        key = await _find_key(keys, text)
        if key is None:
            text = await _create_key(keys, path)
            if sys.stdout.isatty():  # not into a log
                return f"'Authorization: Bearer {text}'"
        if key is None or key.is_active(await keys.now(SYSTEM_PRINCIPAL)):
            return f'"Authorization: Bearer $(cat {shlex.quote(str(path))})"'
    ended = "has expired" if key.revoked_at is None else "was revoked"
    print_error(f"the key in {path} {ended}. Remove the file and start again to create a new one.")
    return None


async def _find_key(keys: ApiKeyService, text: str) -> ApiKey | None:
    """Return the key with this text, None if it is not a key of this database."""
    key_id = parse_api_key_id(text)
    if key_id is None:
        return None
    try:
        key = await keys.get(SYSTEM_PRINCIPAL, key_id)
    except ApiKeyNotFoundError:
        return None
    return key if keys.peppers.verify(text, key.secret_hash) else None


async def _create_key(keys: ApiKeyService, path: Path) -> str:
    """Create a key with all scopes, and store it in the file. Revoke it if it cannot be stored."""
    issued = await keys.create(SYSTEM_PRINCIPAL, name=ADMIN_KEY_NAME, scopes=Scope)
    try:
        with atomic_write(path, f"{issued.text}\n".encode()) as draft:
            draft.replace(path)
    except BaseException:
        await keys.revoke(SYSTEM_PRINCIPAL, issued.key.id)
        raise
    print_status(f"created an API key with all scopes in {path}")
    return issued.text
