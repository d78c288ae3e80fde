"""Adaptation of cases to rules that the OpenAPI document cannot express: stored rows and the current time.

A valid case gets an existing user, an expiry in the future, an unused Idempotency-Key, and no cursor, because cursors
are signed. An invalid case stays as it is. A case that would revoke an API key revokes a new key instead: the run needs
its own key, and Schemathesis expects that a deleted resource cannot be read, but a revoked key can.
"""

import os
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import schemathesis
from schemathesis import GenerationMode

Case = schemathesis.Case[Any]
Json = dict[str, Any]

KEY = os.environ["HEXAPOST_FUZZ_KEY"]
LATEST = "2999-12-31T23:59:59Z"

_used_names: dict[str, object] = {}


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Case, kwargs: dict[str, object]) -> None:  # noqa: ARG001
    label, body = case.operation.label, case.body
    if label == "DELETE /api/v1/api-keys/{key_id}" and _names_a_key(case):
        case.path_parameters["key_id"] = _created(case, "api-keys", {"name": "to end", "scopes": ["posts:read"]})
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.query and "cursor" in case.query:
        del case.query["cursor"]
    if label == "POST /api/v1/posts" and isinstance(body, dict) and "author_id" in body:
        body["author_id"] = _new_user(case)
    if label == "POST /api/v1/api-keys" and isinstance(body, dict):
        _make_key_sound(case, body)
    if case.headers and "Idempotency-Key" in case.headers:
        _make_new(case)
    for name in ("If-Match", "If-None-Match"):
        # The coverage phase of Schemathesis generates "0", which does not match the pattern of the document.
        if case.headers and case.headers.get(name) == "0":
            case.headers[name] = '"0"'


def _make_key_sound(case: Case, body: Json) -> None:
    if body.get("user_id") is not None:
        body["user_id"] = _new_user(case)
        scopes = [scope for scope in body["scopes"] if scope.startswith(("users:", "posts:"))]
        body["scopes"] = scopes or ["posts:read"]
    if body.get("expires_at") is not None and not _is_ahead(body["expires_at"]):
        body["expires_at"] = LATEST


def _is_ahead(text: str) -> bool:
    try:
        return datetime.fromisoformat(text.upper()) > datetime.now(UTC)
    except ValueError:
        return True  # valid by the document: the service decides


def _make_new(case: Case) -> None:
    """Replace an Idempotency-Key that another request has used."""
    request = (case.operation.label, repr(case.body))
    name = str(case.headers["Idempotency-Key"]).strip('"')
    if _used_names.setdefault(name, request) != request:
        case.headers["Idempotency-Key"] = uuid4().hex


def _names_a_key(case: Case) -> bool:
    try:
        UUID(str((case.path_parameters or {}).get("key_id")))
    except ValueError:
        return False
    return True


def _new_user(case: Case) -> str:
    return _created(case, "users", {"email": f"{uuid4().hex}@example.org"})


def _created(case: Case, kind: str, body: Json) -> str:
    address = f"{str(case.operation.base_url).rstrip('/')}/api/v1/{kind}"
    response = httpx.post(address, json=body, headers={"Authorization": f"Bearer {KEY}"})
    return str(response.raise_for_status().json()["id"])
