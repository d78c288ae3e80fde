"""The OpenAPI document and Swagger UI. The page works offline."""

import gzip
import hashlib
import re
from functools import cache, lru_cache
from importlib.resources import files

from fastapi import APIRouter, FastAPI, Request, Response

from adapters.http.compiled_routes import CompiledRoute
from adapters.http.conditional import preconditions
from adapters.http.html_pages import REVALIDATE, html_page
from adapters.http.openapi.document import openapi_document
from adapters.http.problems.catalog import NOT_FOUND
from adapters.http.problems.responses import ProblemError
from domain.errors import VersionMismatchError

_BODY = """<link rel="stylesheet" href="/docs/assets/swagger-ui.css">
<link rel="stylesheet" href="/docs/assets/docs.css">
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript. The document it shows is <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/assets/swagger-ui-bundle.js"></script>
<script src="/docs/assets/docs.js"></script>"""
_SWAGGER_UI = files("fastapi_offline") / "static"
_STATIC = files("adapters.http") / "static"
_ASSETS = {
    "swagger-ui-bundle.js": (_SWAGGER_UI, "text/javascript; charset=utf-8"),
    "swagger-ui.css": (_SWAGGER_UI, "text/css; charset=utf-8"),
    "favicon.png": (_SWAGGER_UI, "image/png"),
    "docs.js": (_STATIC, "text/javascript; charset=utf-8"),
    "style.css": (_STATIC, "text/css; charset=utf-8"),
    "docs.css": (_STATIC, "text/css; charset=utf-8"),
}
_CODING = re.compile(r"([^\s,;]+)\s*(?:;\s*q=(0?\.\d+|[01](?:\.\d*)?)\s*)?(?:,|$)")
"""A coding and its weight in Accept-Encoding."""
# Swagger UI uses inline styles, and its style sheet contains images.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

router = APIRouter(route_class=CompiledRoute, include_in_schema=False)


@router.get("/docs")
async def docs(request: Request) -> Response:
    """Serve the documentation page."""
    return html_page(request, "Hexapost API", _BODY, policy=_POLICY, cache_control=REVALIDATE)


@router.get("/docs/assets/{name}")
async def asset(request: Request, name: str) -> Response:
    """Serve an asset of the HTML pages."""
    if name not in _ASSETS:
        raise ProblemError(NOT_FOUND)
    return _cached(request, _asset(name), _ASSETS[name][1])


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Serve the OpenAPI document."""
    return _cached(request, _document(request.app, request.state.request_context.root_path), "application/json")


def _cached(request: Request, content: bytes, media_type: str) -> Response:
    is_compressed = not media_type.startswith("image/") and _accepts_gzip(request)
    body, tag = _representation(content, is_compressed=is_compressed)
    headers = {"etag": f'"{tag}"', "cache-control": REVALIDATE, "vary": "accept-encoding"}
    if is_compressed:
        headers["content-encoding"] = "gzip"
    conditions = preconditions(request.scope["headers"])
    if conditions is not None and not conditions.allow(tag.encode()):
        raise VersionMismatchError
    if conditions is not None and conditions.client_has(tag.encode()):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=media_type)


def _accepts_gzip(request: Request) -> bool:
    weights = dict(_CODING.findall(",".join(request.headers.getlist("accept-encoding")).lower()))
    weight = weights.get("gzip", weights.get("*"))
    return weight is not None and float(weight or 1) > 0


@lru_cache(maxsize=8)
def _document(app: FastAPI, root_path: str) -> bytes:
    return openapi_document(app, root_path).encode()


@lru_cache(maxsize=32)
def _representation(content: bytes, *, is_compressed: bool) -> tuple[bytes, str]:
    """Return the bytes to send and their entity tag."""
    body = gzip.compress(content, mtime=0) if is_compressed else content
    return body, hashlib.sha256(body).hexdigest()[:32]


@cache
def _asset(name: str) -> bytes:
    directory, _ = _ASSETS[name]
    return (directory / name).read_bytes()
