"""The injection points of each operation, derived from the OpenAPI document."""

import json
from collections.abc import Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import quote, unquote

from tests.http.openapi_document import examples, resolved
from tests.http.openapi_document import operations as documented
from tests.http.support import Json
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
    fields: frozenset[str]


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
        encoded = quote(value.octets, safe="")
        path, headers = self.operation.path, {}
        for parameter in self.operation.parameters:
            if parameter["in"] == "path":
                name = parameter["name"]
                is_here = (self.kind, self.name) == ("path", name)
                value_there = sound.get(name, parameter["schema"]["examples"][0])
                path = path.replace(f"{{{name}}}", encoded if is_here else str(value_there))
        if self.media_type is not None:
            headers[b"content-type"] = self.media_type.encode()
        if self.kind == "header":
            headers[self.name.lower().encode()] = value.octets
        query = {"query": f"{self.name}={encoded}", "name of a query parameter": f"{encoded}=1"}.get(self.kind, "")
        return Request(
            method=self.operation.method,
            path=unquote(path),
            query=query.encode(),
            headers=tuple(headers.items()),
            body=b"" if self.media_type is None else self._body(value, sound),
        )

    def _body(self, value: Payload, sound: Mapping[str, str]) -> bytes:
        if self.kind == "body":
            return value.fragment
        body = deepcopy(self.operation.bodies[str(self.media_type)])
        body |= {name: sound[name] for name in body if name in sound}
        replaced = {"name of a field": (_MARK, 1, value.name), "field": (self.name, _MARK, value.fragment)}
        if self.kind not in replaced:
            return json.dumps(body).encode()
        name, content, inserted = replaced[self.kind]
        return json.dumps(body | {name: content}).encode().replace(json.dumps(_MARK).encode(), inserted)


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
            bodies={media_type: next(examples(body)) for media_type, body in content.items()},
            fields=frozenset(name for body in content.values() for name in resolved(body["schema"])["properties"]),
        )


def injection_points(operation: Operation) -> Iterator[InjectionPoint]:
    """Yield the injection points of an operation: the documented ones and those of each request."""
    for media_type in operation.bodies:
        for name in sorted(operation.fields):
            yield InjectionPoint(operation=operation, kind="field", name=name, media_type=media_type)
        yield InjectionPoint(operation=operation, kind="name of a field", name="", media_type=media_type)
        yield InjectionPoint(operation=operation, kind="body", name="", media_type=media_type)
    plain = next(iter(operation.bodies), None)
    declared: list[tuple[Kind, str]] = [(parameter["in"], parameter["name"]) for parameter in operation.parameters]
    named = {name.lower() for kind, name in declared if kind == "header"}
    declared += [("header", name) for name in HEADERS if name.lower() not in named]
    for kind, name in [*declared, ("name of a query parameter", "")]:
        yield InjectionPoint(operation=operation, kind=kind, name=name, media_type=plain)
