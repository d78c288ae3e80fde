"""The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a POST that can be repeated safely.

What is stored of a request are hashes, and the answer sealed with AES-256-GCM (NIST SP 800-38D) under a key that takes
both a pepper of the service and the idempotency key, which only the client has. So neither the database alone, nor it
and the pepper, tell what was answered, though answers hold names, addresses and, once, API keys.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from fastapi import Request, Response

from adapters.http.context import caller
from adapters.http.errors import ProblemError, refused
from adapters.http.headers import header_lines
from adapters.http.problems import VALIDATION_FAILED
from adapters.http.validation import FieldError
from application.credentials import Peppers
from application.idempotency import Once, Outcome, OutcomeErasedError, RepeatedError

LONGEST_KEY = 255
"""Characters, without the quotes."""
KEY_PATTERN = '^(?:[!#-\\[\\]-~]{1,255}|"[ !#-\\[\\]-~]{1,255}")$'
"""The draft's string in double quotes, or, as most send it, the same without them; no quote or backslash within."""

REPLAYED = (b"idempotency-replayed", b"true")

_KEY = re.compile(rb'([!#-\[\]-~]{1,255})|"([ !#-\[\]-~]{1,255})"')
_VERSION_BYTES = 4
_NONCE_BYTES = 12

T = TypeVar("T")


class Idempotency:
    """Knows requests again, seals their answers and opens them."""

    def __init__(self, peppers: Peppers, lasts: timedelta) -> None:
        self._peppers = peppers
        self._lasts = lasts

    async def once(self, request: Request, respond: Callable[[T], Response]) -> Once[T] | None:
        """Return how to carry out the request once, answering as `respond` says; None when that is not asked for.

        Raises ProblemError for a header that is malformed.
        """
        key = _idempotency_key(request)
        key_id = caller(request).key_id
        if key is None or key_id is None:
            return None
        name, secret = _name(request, key), _secret(request, key)
        scope = request.scope
        told = b"\0".join([scope["method"].encode(), scope["path"].encode(), await request.body()])
        return Once(
            key_id=key_id,
            name=name,
            fingerprint=hmac.digest(secret, told, "sha256"),
            lasts=self._lasts,
            answer=lambda result: self._sealed(respond(result), name, secret),
        )

    def replay(self, request: Request, outcome: Outcome) -> Response:
        """Return the response that the request had before. Raises OutcomeErasedError when nobody can open it now."""
        key = _idempotency_key(request)
        pepper = self._peppers.get(int.from_bytes(outcome.answer[:_VERSION_BYTES]))
        if key is None or pepper is None:
            raise OutcomeErasedError
        sealed = outcome.answer[_VERSION_BYTES:]
        cipher = AESGCM(hmac.digest(pepper, _secret(request, key), "sha256"))
        try:
            opened = cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], outcome.name)
        except InvalidTag:
            raise OutcomeErasedError from None
        head, _, body = opened.partition(b"\n")
        status, headers = json.loads(head)
        response = Response(body, status)
        response.raw_headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        response.raw_headers.append(REPLAYED)
        return response

    def _sealed(self, response: Response, name: bytes, secret: bytes) -> bytes:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in response.raw_headers]
        head = json.dumps([response.status_code, headers]).encode("ascii")
        version = self._peppers.latest
        pepper = self._peppers.get(version)
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = AESGCM(hmac.digest(pepper or b"", secret, "sha256"))
        return version.to_bytes(_VERSION_BYTES) + nonce + cipher.encrypt(nonce, head + b"\n" + response.body, name)


async def once(request: Request, respond: Callable[[T], Response]) -> Once[T] | None:
    """See `Idempotency.once`, of the application that serves the request."""
    idempotency: Idempotency = request.app.state.idempotency
    return await idempotency.once(request, respond)


async def repeated(request: Request, error: RepeatedError) -> Response:
    """Return the response to a request that was carried out before."""
    idempotency: Idempotency = request.app.state.idempotency
    try:
        return idempotency.replay(request, error.outcome)
    except OutcomeErasedError as erased:
        return await refused(request, erased)


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


def _name(request: Request, key: bytes) -> bytes:
    """Return the hash under which an outcome is found: of the API key and of the idempotency key."""
    return hashlib.sha256(b"name\0%b\0%b" % (str(caller(request).key_id).encode(), key)).digest()


def _secret(request: Request, key: bytes) -> bytes:
    """Return what only the client has, and whoever watched it."""
    return hashlib.sha256(b"secret\0%b\0%b" % (str(caller(request).key_id).encode(), key)).digest()
