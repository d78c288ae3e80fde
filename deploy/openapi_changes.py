"""Breaking changes between two versions of `openapi.json`.

The comparison covers operations, parameters, request bodies and successful responses: their types, enumerations,
required names, headers and limits. It ignores patterns, formats and texts.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
UNIONS = ("allOf", "anyOf", "oneOf")
UPPER_LIMITS = ("maximum", "maxLength", "maxItems", "maxProperties")
LOWER_LIMITS = ("minimum", "minLength", "minItems", "minProperties")

Json = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """A parameter, a header, a body, or a part of a body. `parent` is the name of the value that contains it."""

    parent: str = ""
    types: frozenset[str] = frozenset()
    limits: Mapping[str, float]
    is_required: bool


Values = Mapping[str, Value]


def breaking_changes(old: Json, new: Json) -> Iterator[str]:
    """Yield one line for each change that can break a client of the old document."""
    operations = _operations(new)
    for name, (inputs, outputs) in _operations(old).items():
        if name not in operations:
            yield f"{name} was removed"
            continue
        new_inputs, new_outputs = operations[name]
        for change in (*_input_changes(inputs, new_inputs), *_output_changes(outputs, new_outputs)):
            yield f"{name}: {change}"


def _input_changes(old: Values, new: Values) -> Iterator[str]:
    for name, value in old.items():
        if name not in new:
            if value.parent in {"", *new}:
                yield f"{name} is no longer accepted"
            continue
        if lost := value.types - new[name].types:
            yield f"{name} no longer accepts {', '.join(sorted(lost))}"
        for limit, number in new[name].limits.items():
            before = value.limits.get(limit)
            if before is None or (number < before if limit in UPPER_LIMITS else number > before):
                yield f"{name} has the stricter {limit} {number}"
    for name, value in new.items():
        is_new = name not in old or not old[name].is_required
        # A required part of a new optional value breaks no client.
        if value.is_required and is_new and value.parent in {"", *old}:
            yield f"{name} is required"


def _output_changes(old: Values, new: Values) -> Iterator[str]:
    for name, value in old.items():
        if name not in new:
            if value.parent in {"", *new}:
                yield f"{name} is no longer returned"
            continue
        if added := new[name].types - value.types:
            yield f"{name} can be {', '.join(sorted(added))}"
        if value.is_required and not new[name].is_required:
            yield f"{name} can be absent"


def _operations(document: Json) -> Mapping[str, tuple[Values, Values]]:
    """Return the inputs and the outputs of each operation, by method and path."""
    return {
        f"{method.upper()} {path}": (
            dict(_inputs(document, item, item[method])),
            dict(_outputs(document, item[method])),
        )
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    }


def _inputs(document: Json, item: Json, operation: Json) -> Iterator[tuple[str, Value]]:
    for reference in (*item.get("parameters", ()), *operation.get("parameters", ())):
        parameter = resolve(document, reference)
        name = f"{parameter['in']} parameter {parameter['name']}"
        yield from _values(document, name, parameter["schema"], is_required=parameter.get("required", False))
    body = resolve(document, operation.get("requestBody", {}))
    for media_type, content in body.get("content", {}).items():
        yield from _values(document, f"{media_type} body", content["schema"], is_required=body.get("required", False))


def _outputs(document: Json, operation: Json) -> Iterator[tuple[str, Value]]:
    for status, reference in operation["responses"].items():
        if not status.startswith("2"):
            continue
        response = resolve(document, reference)
        yield status, Value(limits={}, is_required=True)
        for header in response.get("headers", {}):
            yield f"{status} header {header}", Value(parent=status, limits={}, is_required=False)
        for media_type, content in response.get("content", {}).items():
            schema = content.get("schema", {})
            yield from _values(document, f"{status} {media_type} body", schema, is_required=True, parent=status)


def _values(
    document: Json, name: str, schema: Json, *, is_required: bool, parent: str = "", above: tuple[str, ...] = ()
) -> Iterator[tuple[str, Value]]:
    """Yield a value and its parts. `above` has the references on the way, because a schema can contain itself."""
    reference = schema.get("$ref", "")
    if reference in above:
        return
    above = (*above, reference) if reference else above
    resolved = resolve(document, schema)
    variants = [resolve(document, variant) for union in UNIONS for variant in resolved.get(union, ())]
    schemas = [resolved, *variants]
    yield (
        name,
        Value(
            parent=parent,
            types=frozenset().union(*map(_types, schemas)),
            limits={limit: each[limit] for each in schemas for limit in UPPER_LIMITS + LOWER_LIMITS if limit in each},
            is_required=is_required,
        ),
    )
    for each in schemas:
        required = each.get("required", ())
        for key, part in each.get("properties", {}).items():
            yield from _values(document, f"{name}.{key}", part, is_required=key in required, parent=name, above=above)
        if "items" in each:
            yield from _values(document, f"{name}[]", each["items"], is_required=False, parent=name, above=above)


def _types(schema: Json) -> set[str]:
    """Return the types of a value, or the values of an enumeration in JSON."""
    if "const" in schema:
        return {json.dumps(schema["const"])}
    if "enum" in schema:
        return {json.dumps(value) for value in schema["enum"]}
    types = schema.get("type", [])
    return {types} if isinstance(types, str) else set(types)


def resolve(document: Json, node: Json) -> Json:
    """Follow the references of a node."""
    while "$ref" in node:
        target: Any = document
        for key in node["$ref"].removeprefix("#/").split("/"):
            target = target[key]
        node = target
    return node
