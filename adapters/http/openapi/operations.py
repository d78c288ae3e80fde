"""The arguments of path operations: documentation that follows from the kind of operation."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.http.openapi.components import Json
from adapters.http.problems.catalog import Problem
from adapters.http.routing import requires_scope
from domain.api_keys import Scope

PROBLEMS = "x-problems"
"""The member of an operation with its own problems, until `document` has replaced it by responses."""

_EVERY_RESPONSE = ("X-Request-ID", "Cache-Control", "X-Content-Type-Options")


def response(description: str, *headers: str) -> Json:
    """Return the documentation of a response with these headers and those of every response."""
    return {"description": description, "headers": header_references(*headers, *_EVERY_RESPONSE)}


def header_references(*names: str) -> Json:
    """Return references to headers in the components."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """The arguments of `router.get`, `router.post` and so on for the operations of one resource.

    The operations are named `list_<name>s`, `create_<name>`, `get_<name>`, `update_<name>` and `delete_<name>`. An
    operation documents its own problems; `document` adds those that follow from its parameters and body.
    """

    name: str
    title: str
    model: type[Any]
    read: Scope
    write: Scope
    not_found: Problem
    is_versioned: bool = True

    def list(self, page: type[Any]) -> Json:
        """Return the arguments of the operation that lists entities."""
        return list_operation(self.read, f"{self.name}s", page)

    def create(self, *problems: Problem, links: Json, model: type[Any] | None = None) -> Json:
        """Return the arguments of the operation that creates an entity. `model` is the response body if it differs."""
        created = response("The new resource.", "Location", *self._etag, "Idempotency-Replayed") | {"links": links}
        summary, model = f"Create {self.title}", model or self.model
        return operation(self.write, summary, model, {201: created}, *problems, parameters=["Idempotency-Key"])

    def get(self) -> Json:
        """Return the arguments of the operation that returns one entity."""
        responses = {200: response(f"The {self.name}.", *self._etag)}
        if self.is_versioned:
            responses[304] = response(f"The {self.name} has the version in If-None-Match.", "ETag")
        summary, parameters = f"Get {self.title}", self._preconditions
        return operation(self.read, summary, self.model, responses, self.not_found, parameters=parameters)

    def update(self, *problems: Problem) -> Json:
        """Return the arguments of the operation that updates an entity."""
        responses, problems = {200: response(f"The updated {self.name}.", "ETag")}, (self.not_found, *problems)
        summary, parameters = f"Update {self.title}", self._preconditions
        return operation(self.write, summary, self.model, responses, *problems, parameters=parameters)

    def delete(self, verb: str = "Delete") -> Json:
        """Return the arguments of the operation that deletes an entity."""
        responses = {204: response(f"The {self.name} is {verb.lower()}d.")}
        summary, parameters = f"{verb} {self.title}", self._preconditions
        return operation(self.write, summary, None, responses, self.not_found, parameters=parameters)

    @property
    def _etag(self) -> Sequence[str]:
        return ["ETag"] if self.is_versioned else []

    @property
    def _preconditions(self) -> Sequence[str]:
        return ["If-Match", "If-None-Match"] if self.is_versioned else []


def list_operation(scope: Scope, names: str, page: type[Any]) -> Json:
    """Return the arguments of an operation that lists entities, with their name in the plural."""
    return operation(scope, f"List {names}", page, {200: response(f"A page of {names}.", "Link")})


def operation(
    scope: Scope,
    summary: str,
    model: type[Any] | None,
    responses: dict[int, Json],
    *problems: Problem,
    parameters: Sequence[str] = (),
) -> Json:
    """Return the arguments of an operation. The first response is the usual one."""
    extra = {**requires_scope(scope), PROBLEMS: [problem.code for problem in problems]}
    if parameters:
        extra["parameters"] = [{"$ref": f"#/components/parameters/{name}"} for name in parameters]
    return {
        "openapi_extra": extra,
        "summary": summary,
        "response_model": model,
        "responses": responses,
        "status_code": next(iter(responses)),
    }


def links(parameter: str, field: str, **operations: str) -> Json:
    """Return links to operations, whose parameter is a field of the response body."""
    return {
        name: {
            "operationId": name,
            "parameters": {parameter: f"$response.body#/{field}"},
            "description": description,
        }
        for name, description in operations.items()
    }
