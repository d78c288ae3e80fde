"""The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a POST that can be repeated safely.

What is stored of a request are hashes, and the answer sealed with AES-256-GCM (NIST SP 800-38D), all of them keyed with
the API key and the idempotency key, which only the client has. So whoever has the database, and even the peppers, can
neither read what was answered nor test a guess of it, though answers hold names, addresses and, once, API keys.
"""

import hmac
import json
import re
import secrets
from collections.abc import Callable
from typing import TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Request, Response

from adapters.http.authentication import presented
from adapters.http.context import caller
from adapters.http.errors import ProblemError
from adapters.http.headers import header_lines
from adapters.http.problems import VALIDATION_FAILED
from adapters.http.validation import FieldError
from application.idempotency import Once, Outcome, RepeatedError

LONGEST_KEY = 255
"""Characters, without the quotes."""
KEY_PATTERN = '^(?:[!#-\\[\\]-~]{1,255}|"[ !#-\\[\\]-~]{1,255}")$'
"""The draft's string in double quotes, or, as most send it, the same without them; no quote or backslash within."""

REPLAYED = (b"idempotency-replayed", b"true")

_KEY = re.compile(rb'([!#-\[\]-~]{1,255})|"([ !#-\[\]-~]{1,255})"')
_NONCE_BYTES = 12

T = TypeVar("T")


async def once(request: Request, respond: Callable[[T], Response]) -> Once[T] | None:
    """Return how to carry out the request once, answering as `respond` says; None when that is not asked for.

    Raises ProblemError for a header that is malformed.
    """
    key = _idempotency_key(request)
    key_id = caller(request).key_id
    if key is None or key_id is None:
        return None
    scope = request.scope
    told = b"\0".join([scope["method"].encode(), scope["path"].encode(), await request.body()])
    name, secret = _hashed(request, b"name", key), _hashed(request, b"secret", key)
    return Once(
        key_id=key_id,
        name=name,
        fingerprint=hmac.digest(secret, told, "sha256"),
        lasts=request.app.state.idempotency,
        answer=lambda result: _sealed(respond(result), name, secret),
    )


async def repeated(request: Request, error: RepeatedError) -> Response:
    """Return the response that a request had when it was carried out."""
    key = _idempotency_key(request) or b""  # there is one, or nothing could be repeated
    return _opened(error.outcome, _hashed(request, b"secret", key))


def _sealed(response: Response, name: bytes, secret: bytes) -> bytes:
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
    head = json.dumps([response.status_code, headers]).encode("ascii")
    nonce = secrets.token_bytes(_NONCE_BYTES)
    return nonce + AESGCM(secret).encrypt(nonce, head + b"\n" + response.body, name)


def _opened(outcome: Outcome, secret: bytes) -> Response:
    nonce, sealed = outcome.answer[:_NONCE_BYTES], outcome.answer[_NONCE_BYTES:]
    head, _, body = AESGCM(secret).decrypt(nonce, sealed, outcome.name).partition(b"\n")
    status, headers = json.loads(head)
    response = Response(body, status)
    response.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    response.raw_headers.append(REPLAYED)
    return response


def _idempotency_key(request: Request) -> bytes | None:
    lines = header_lines(request.scope, b"idempotency-key")
    if not lines:
        return None
    found = _KEY.fullmatch(lines[0])
    if len(lines) > 1 or found is None:
        detail = f"It must be given once, as 1-{LONGEST_KEY} visible ASCII characters without quotes or backslashes."
        error: FieldError = {"parameter": "Idempotency-Key", "code": "format", "detail": detail}
        raise ProblemError(VALIDATION_FAILED, errors=[error])
    return found[1] or found[2]


def _hashed(request: Request, label: bytes, key: bytes) -> bytes:
    """Return a hash of the idempotency key that only who has the API key, too, can make (HMAC-SHA256, RFC 2104)."""
    return hmac.digest(presented(request.scope).encode("ascii"), label + b"\0" + key, "sha256")
