"""The header Idempotency-Key (draft-ietf-httpapi-idempotency-key-header-07): a POST that clients can retry.

A stored record holds hashes of the request and its sealed result. Both are keyed with the secret of the API key's
family, so that its successors find the record, and with the idempotency key, which only the client has. The database
and the peppers together do not suffice to read a result, except if the idempotency key can be guessed. Results contain
names, addresses and, once, API keys.
"""

import hmac
import re
import secrets
from dataclasses import dataclass
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from pydantic import TypeAdapter

from adapters.http.problems.catalog import domain_problem
from adapters.http.problems.responses import invalid_parameter
from adapters.http.routing import ApiRequest
from application.idempotency import (
    IdempotencyInFlightError,
    IdempotencyKeyReusedError,
    IdempotencyRecordErasedError,
    IdempotentRequest,
)

MAX_KEY_LENGTH = 255
"""The maximum length of a key, without the quotes."""
IDEMPOTENCY_KEY_PATTERN = '^(?:[!#-\\[\\]-~]{1,255}|"[ !#-\\[\\]-~]{1,255}")$'
"""A string in double quotes, as in the draft, or without them, as most clients send it. No quotes or backslashes."""

_KEY = re.compile(rb'([!#-\[\]-~]{1,255})|"([ !#-\[\]-~]{1,255})"')
_NONCE_BYTES = 12

IDEMPOTENCY_IN_FLIGHT = domain_problem(
    IdempotencyInFlightError,
    title="Request in progress",
    resolution="Wait, then retry the same request with the same key.",
    retry_after=1,
)
PROBLEMS = (
    IDEMPOTENCY_IN_FLIGHT,
    domain_problem(
        IdempotencyKeyReusedError,
        resolution="Use a new key for each new request. Retry a request with its key only if it is unchanged.",
    ),
    domain_problem(
        IdempotencyRecordErasedError,
        resolution="Do not retry. To create the resource again, send a new request with a new idempotency key.",
    ),
)
"""The problems of an operation that accepts an Idempotency-Key."""

T = TypeVar("T")


async def idempotent_request(request: ApiRequest, results: TypeAdapter[T]) -> IdempotentRequest[T] | None:
    """Return the identity of an idempotent request, None without an Idempotency-Key. `results` serializes its result.

    Raises ProblemError for a malformed header.
    """
    keys = [value for name, value in request.scope["headers"] if name == b"idempotency-key"]
    family = request.principal.family
    if not keys or family is None:
        return None
    found = _KEY.fullmatch(keys[0])
    if len(keys) > 1 or found is None:
        detail = f"Must occur once, with 1-{MAX_KEY_LENGTH} visible ASCII characters except quotes and backslashes."
        raise invalid_parameter("Idempotency-Key", "invalid_format", detail)
    key = found[1] or found[2]
    # HMAC-SHA256 (RFC 2104)
    key_hash = hmac.digest(family.secret, b"name\0" + key, "sha256")
    secret = hmac.digest(family.secret, b"secret\0" + key, "sha256")
    content = b"\0".join([request.method.encode(), request.scope["path"].encode(), request.content])
    return IdempotentRequest(
        api_key_id=family.id,
        key_hash=key_hash,
        fingerprint=hmac.digest(secret, content, "sha256"),
        ttl=request.application.options.idempotency_retention,
        seal=AesGcmSeal(results, key_hash, AESGCM(secret)),
    )


@dataclass(frozen=True, slots=True)
class AesGcmSeal(Generic[T]):
    """Seals results as JSON under AES-256-GCM (NIST SP 800-38D), with the name of the request as associated data."""

    results: TypeAdapter[T]
    name: bytes
    cipher: AESGCM

    def seal(self, result: T) -> bytes:
        """Return the encrypted result, after a random nonce."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self.cipher.encrypt(nonce, self.results.dump_json(result), self.name)

    def unseal(self, sealed: bytes) -> T:
        """Return the result. Raises InvalidTag if `sealed` was not made with this key for this request."""
        nonce, ciphertext = sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:]
        return self.results.validate_json(self.cipher.decrypt(nonce, ciphertext, self.name))
