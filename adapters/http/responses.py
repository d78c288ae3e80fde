"""JSON responses, which FastAPI sends without further processing."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from operator import attrgetter
from typing import Any, get_type_hints

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send
from typing_extensions import override

from adapters.http.conditional import preconditions
from adapters.http.middleware.request_limits import Header
from domain.errors import VersionMismatchError

Body = Mapping[str, object]
"""A body of plain values, which costs half as much CPU as a model."""


def projection(model: type[Any]) -> Callable[[object], dict[str, Any]]:
    """Return a function that makes the response body of an entity: the attributes with the names of the fields."""
    names = tuple(get_type_hints(model))
    values = attrgetter(*names)

    def project(entity: object) -> dict[str, Any]:
        return dict(zip(names, values(entity), strict=True))

    return project


REVALIDATE: Header = (b"cache-control", b"private, no-cache")
REPLAYED: Header = (b"idempotency-replayed", b"true")
_JSON: Header = (b"content-type", b"application/json")


class JsonResponse(Response):
    """A JSON response. Its constructor skips the header processing of Starlette, which costs more than the rest.

    The compiled route encodes its content, with the serializer of the response model.
    """

    def __init__(self, status: int, content: Body, *headers: Header) -> None:
        self.status_code = status
        self.background = None
        self._content = content
        self._own_headers = headers

    def encode(self, to_json: Callable[[Body], bytes]) -> None:
        """Set the body and the headers."""
        self.body = to_json(self._content)
        self.raw_headers = [_JSON, (b"content-length", b"%d" % len(self.body)), *self._own_headers]


class JsonStream(Response):
    """A JSON document in parts. An error of a later part ends the connection before the document is complete."""

    def __init__(self, first: bytes, rest: AsyncGenerator[bytes]) -> None:
        self.status_code = 200
        self.background = None
        self.raw_headers = [_JSON]
        self._first = first
        self._rest = rest

    @override
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._rest):
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            if not scope["state"]["request_context"].is_head:
                await send({"type": "http.response.body", "body": self._first, "more_body": True})
                async for part in self._rest:
                    await send({"type": "http.response.body", "body": part, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})


def entity_response(request: Request, body: Body, version: int) -> Response:
    """Return the response to a GET of an entity: 200, or 304 if the client has this version.

    Raises VersionMismatchError if If-Match has a different version.
    """
    conditions = preconditions(request.scope["headers"])
    if conditions is not None:
        tag = str(version).encode()
        if not conditions.allow(tag):
            raise VersionMismatchError
        if conditions.client_has(tag):
            headers = {"etag": f'"{version}"', "cache-control": REVALIDATE[1].decode()}
            return Response(status_code=304, headers=headers)
    return JsonResponse(200, body, (b"etag", b'"%d"' % version), REVALIDATE)


def created_response(
    request: Request, body: Body, path: str, version: int | None = None, *, is_replay: bool
) -> Response:
    """Return the response to a POST that created an entity at this path, with its ETag if it has a version."""
    headers = [(b"location", f"{request.state.request_context.root_path}{path}".encode("ascii"))]
    if version is not None:
        headers.append((b"etag", b'"%d"' % version))
    if is_replay:
        headers.append(REPLAYED)
    return JsonResponse(201, body, *headers)


def updated_response(body: Body, version: int) -> Response:
    """Return the response to a PATCH of an entity."""
    return JsonResponse(200, body, (b"etag", b'"%d"' % version))
