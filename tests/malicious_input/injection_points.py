"""The injection points of each operation, derived from the OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import quote, unquote

from tests.http.support import Json
from tests.http.test_openapi import operations as documented
from tests.http.test_openapi import resolved
from tests.malicious_input.corpus import Payload

Kind = Literal["path", "query", "name of a query parameter", "header", "field", "name of a field", "body"]

HEADERS = (
    "Content-Type", "Idempotency-Key", "Authorization", "X-API-Key", "X-Request-ID", "Accept", "Host", "If-Match",
    "If-None-Match", "Content-Encoding", "Accept-Encoding", "User-Agent", "Referer", "Cookie", "Range", "Expect",
    "X-Forwarded-For", "X-HTTP-Method-Override", "Content-Length",
)  # fmt: skip
"""Headers that each request can have, documented or not."""
_MARK = "replaced by the value"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """An operation of the document, with examples of its bodies."""

    id: str
    method: str
    path: str
    is_secured: bool
    parameters: tuple[Json, ...]
    bodies: Mapping[str, Json]
    fields: Mapping[str, Json]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as a server passes it to the application."""

    method: str
    path: str
    query: bytes = b""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""


@dataclass(frozen=True, slots=True, kw_only=True)
class InjectionPoint:
    """An injection point of one operation; `media_type` is that of the body, if the request has one."""

    operation: Operation = field(repr=False)
    kind: Kind
    name: str
    media_type: str | None

    def __str__(self) -> str:
        return f"{self.operation.id}: {self.kind} {self.name} ({self.media_type})"

    def request(self, value: Payload, sound: Mapping[str, str]) -> Request:
        """Return a request with the value here; all other parts are valid: from `sound`, or examples."""
        path = self.operation.path
        for parameter in _in(self.operation, "path"):
            name = parameter["name"]
            given = quote(value.octets, safe="") if self._is("path", name) else sound.get(name, _example(parameter))
            path = path.replace(f"{{{name}}}", str(given))
        request = Request(method=self.operation.method, path=unquote(path), headers=(), body=b"")
        if self.media_type is not None:
            request = replace(
                request, headers=((b"content-type", self.media_type.encode()),), body=self._body(value, sound)
            )
        return self._with_head(request, value)

    def _is(self, kind: Kind, name: str) -> bool:
        return (self.kind, self.name) == (kind, name)

    def _with_head(self, request: Request, value: Payload) -> Request:
        if self.kind == "query":
            return replace(request, query=f"{self.name}={quote(value.octets, safe='')}".encode())
        if self.kind == "name of a query parameter":
            return replace(request, query=f"{quote(value.octets, safe='')}=1".encode())
        if self.kind == "header":
            name = self.name.lower().encode()
            kept = tuple(header for header in request.headers if header[0] != name)
            return replace(request, headers=(*kept, (name, value.octets)))
        return request

    def _body(self, value: Payload, sound: Mapping[str, str]) -> bytes:
        if self.kind == "body":
            return value.fragment
        body = deepcopy(self.operation.bodies[str(self.media_type)])
        body |= {name: sound[name] for name in body if name in sound}
        if self.kind == "name of a field":
            return json.dumps(body | {_MARK: 1}).encode().replace(json.dumps(_MARK).encode(), value.name)
        if self.kind == "field":
            return json.dumps(body | {self.name: _MARK}).encode().replace(json.dumps(_MARK).encode(), value.fragment)
        return json.dumps(body).encode()


def operations() -> Iterator[Operation]:
    """Yield the operations of the document."""
    for method, path, found in documented():
        content = found.get("requestBody", {}).get("content", {})
        yield Operation(
            id=found["operationId"],
            method=method.upper(),
            path=path,
            is_secured=bool(found["security"]),
            parameters=tuple(resolved(parameter) for parameter in found.get("parameters", ())),
            bodies={media_type: _body_of(body) for media_type, body in content.items()},
            fields={name: field for body in content.values() for name, field in _properties(body).items()},
        )


def injection_points(operation: Operation) -> Iterator[InjectionPoint]:
    """Yield the injection points of an operation: the documented ones and those of each request."""
    for media_type in operation.bodies:
        for name in operation.fields:
            yield InjectionPoint(operation=operation, kind="field", name=name, media_type=media_type)
        yield InjectionPoint(operation=operation, kind="name of a field", name="", media_type=media_type)
        yield InjectionPoint(operation=operation, kind="body", name="", media_type=media_type)
    plain = next(iter(operation.bodies), None)
    declared: list[tuple[Kind, str]] = [(parameter["in"], parameter["name"]) for parameter in operation.parameters]
    named = {name.lower() for kind, name in declared if kind == "header"}
    declared += [("header", name) for name in HEADERS if name.lower() not in named]
    for kind, name in [*declared, ("name of a query parameter", "")]:
        yield InjectionPoint(operation=operation, kind=kind, name=name, media_type=plain)


def _in(operation: Operation, place: str) -> Iterator[Json]:
    return (parameter for parameter in operation.parameters if parameter["in"] == place)


def _example(node: Json) -> Any:
    schema = node.get("schema", {})
    for found in (node.get("example"), *schema.get("examples", ())):
        if found is not None:
            return found
    return next((one["value"] for one in node.get("examples", {}).values()), "example")


def _body_of(content: Json) -> Json:
    return dict(_example({**content, "schema": {**content["schema"], **resolved(content["schema"])}}))


def _properties(content: Json) -> Json:
    properties: Json = resolved(content["schema"])["properties"]
    return properties
