"""API keys in any state, and headers that carry them."""

from typing import Any

from adapters.clock import new_id
from application.api_key_tokens import format_api_key, generate_secret
from application.ports import Storage
from domain.api_keys import Scope
from tests.support.factories import make_api_key, store_api_keys
from tests.support.service_factories import PEPPERS


def bearer(key: str) -> dict[str, str]:
    """Return the header that carries the API key."""
    return {"Authorization": f"Bearer {key}"}


def once(name: str, key: str | None = None) -> dict[str, str]:
    """Return the headers of a request with an idempotency key, and with an API key if it is given."""
    return {"Idempotency-Key": name, **({} if key is None else bearer(key))}


async def stored_key(storage: Storage, *scopes: Scope, **fields: Any) -> str:
    """Store an API key with these scopes, or with all of them, and return its text."""
    key_id = new_id()
    text = format_api_key(key_id, generate_secret())
    given = {
        "id": key_id,
        "scopes": frozenset(scopes or Scope),
        "secret_hash": PEPPERS.hash(text),
        "expires_at": None,
    }
    await store_api_keys(storage, make_api_key(**{**given, **fields}))
    return text
