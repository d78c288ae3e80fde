"""Cross-origin requests of browsers (CORS, in the Fetch standard), for the origins that the operator allows.

Starlette's CORSMiddleware inspects every request a second time, and answers some preflight requests with plain text.
Here the request context adds the headers, so that rejections of the protocol have them too.
"""

from collections.abc import Collection, Mapping, Sequence

from starlette.responses import Response

from adapters.http.middleware.request_limits import Header

ANY_ORIGIN = "*"

METHODS = ("GET", "HEAD", "POST", "PATCH", "DELETE")
REQUEST_HEADERS = (
    "Authorization", "X-API-Key", "Content-Type", "If-Match", "If-None-Match", "Idempotency-Key", "X-Request-ID",
    "traceparent", "tracestate",
)  # fmt: skip
RESPONSE_HEADERS = (
    "ETag", "Location", "Link", "Retry-After", "RateLimit", "RateLimit-Policy", "X-Request-ID", "Idempotency-Replayed",
    "WWW-Authenticate", "Allow", "Accept-Post", "Accept-Patch", "Accept-Encoding", "X-Content-Type-Options",
)  # fmt: skip
"""The headers that scripts can read. Browsers always permit Cache-Control, Content-Length and Content-Type."""

PREFLIGHT_CACHE_SECONDS = 7200
"""How long a browser uses the response to a preflight request. Chromium uses it for at most this time."""

_EXPOSE: Header = (b"access-control-expose-headers", ", ".join(RESPONSE_HEADERS).encode())
_VARY: Header = (b"vary", b"origin")


class CorsPolicy:
    """Decides which origins can read responses. Credentials of the browser, such as cookies, are never allowed."""

    def __init__(self, origins: Collection[str]) -> None:
        self._allows_any = ANY_ORIGIN in origins
        self._default: Sequence[Header] = (_allow_origin(ANY_ORIGIN), _EXPOSE) if self._allows_any else (_VARY,)
        self._allowed: Mapping[bytes, Sequence[Header]] = {
            origin.encode(): (_allow_origin(origin), _EXPOSE, _VARY) for origin in origins if origin != ANY_ORIGIN
        }
        self._preflight_response = Response(
            status_code=204,
            headers={
                "access-control-allow-methods": ", ".join(METHODS),
                "access-control-allow-headers": ", ".join(REQUEST_HEADERS),
                "access-control-max-age": str(PREFLIGHT_CACHE_SECONDS),
            },
        )

    def response_headers(self, headers: Mapping[bytes, bytes]) -> Sequence[Header]:
        """Return the headers of the response to a request with these headers."""
        return self._allowed.get(headers.get(b"origin", b""), self._default)

    def find_preflight_response(self, method: str, headers: Mapping[bytes, bytes]) -> Response | None:
        """Return the response to a preflight request from an allowed origin, None for other requests."""
        if method != "OPTIONS" or b"origin" not in headers or b"access-control-request-method" not in headers:
            return None
        return self._preflight_response if self._allows_any or headers[b"origin"] in self._allowed else None


def _allow_origin(origin: str) -> Header:
    return b"access-control-allow-origin", origin.encode()
