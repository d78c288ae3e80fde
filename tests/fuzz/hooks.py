"""What the contract refuses although the document cannot say so: what depends on what is stored, and on the time.

Cases that are meant to be sound get a user who exists, because another case may have erased any older one, an end that
lies ahead, an idempotency key of their own when theirs was used before, and no cursor, as we did not sign it; cases
that are meant to be refused stay as they are. No case ends the key that all of them come with: the one that would ends
a new key instead.
"""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import schemathesis
from schemathesis import GenerationMode

Case = schemathesis.Case[Any]
Json = dict[str, Any]

KEY = os.environ["HEXAPOST_FUZZ_KEY"]
KEY_ID = UUID(hex=KEY.split("_")[1])
LATEST = "2999-12-31T23:59:59Z"

_used_names: dict[str, object] = {}


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, object]) -> None:  # noqa: ARG001
    if case.operation.label == "DELETE /api/v1/api-keys/{key_id}" and _names_our_key(case):
        case.path_parameters["key_id"] = _created(case, "api-keys", {"name": "to end", "scopes": ["posts:read"]})
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.query and "cursor" in case.query:
        del case.query["cursor"]
    if case.operation.label in _SOUND and isinstance(case.body, dict):
        _SOUND[case.operation.label](case, case.body)
    if case.headers and "Idempotency-Key" in case.headers:
        _make_new(case)


def _make_post_sound(case: Case, body: Json) -> None:
    if "author_id" in body:
        body["author_id"] = _new_user(case)


def _make_key_sound(case: Case, body: Json) -> None:
    if body.get("user_id") is not None:
        body["user_id"] = _new_user(case)
        scopes = [scope for scope in body["scopes"] if scope.startswith(("users:", "posts:"))]
        body["scopes"] = scopes or ["posts:read"]
    if body.get("expires_at") is not None and not _is_ahead(body["expires_at"]):
        body["expires_at"] = LATEST


_SOUND: dict[str, Callable[[Case, Json], None]] = {
    "POST /api/v1/posts": _make_post_sound,
    "POST /api/v1/api-keys": _make_key_sound,
}


def _is_ahead(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.upper()) > datetime.now(UTC)
    except ValueError:
        return True  # sound by the document: let the service say so


def _make_new(case: Case) -> None:
    """Give the case an idempotency key of its own, unless nobody used the one it has for anything else."""
    request = (case.operation.label, repr(case.body))
    name = str(case.headers["Idempotency-Key"]).strip('"')
    if _used_names.setdefault(name, request) != request:
        case.headers["Idempotency-Key"] = uuid4().hex


def _names_our_key(case: Case) -> bool:
    try:
        return UUID(str((case.path_parameters or {}).get("key_id"))) == KEY_ID
    except ValueError:
        return False


def _new_user(case: Case) -> str:
    return _created(case, "users", {"email": f"{uuid4().hex}@example.org"})


def _created(case: Case, kind: str, body: Json) -> str:
    """Create one of the kind, and return its id."""
    address = f"{str(case.operation.base_url).rstrip('/')}/api/v1/{kind}"
    response = httpx.post(address, json=body, headers={"Authorization": f"Bearer {KEY}"})
    return str(response.raise_for_status().json()["id"])
