"""The OpenAPI document: what FastAPI derives from the routes, completed by what it cannot know."""

import json
import re
from copy import deepcopy

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from adapters.http import api_keys
from adapters.http.components import FIELD_ERROR, HEADERS, PARAMETERS, PROBLEM, Json, problem_examples
from adapters.http.scopes import REQUIRED_SCOPE, SCHEMES

HEAD_OPERATIONS = {
    "/api/v1/users/{user_id}": "head_user",
    "/api/v1/posts/{post_id}": "head_post",
    "/api/v1/api-keys/{key_id}": "head_api_key",
}
"""The paths whose HEAD is an operation of its own, with its id; every GET answers HEAD."""

_DESCRIPTION = """Users and the posts they write.

**Errors** are problems (RFC 9457): `type` is the address of a page about the problem, all of them are listed at
`/problems`. **Changes** are merge patches (RFC 7396); send the `ETag` you read in `If-Match` and nobody's change gets
lost. **Lists** come in pages, newest first: follow `Link` or send `next_cursor` as `cursor`. **Times** are RFC 3339 in
UTC. Unknown fields and query parameters are refused. A path with a slash at its end is the same resource, and every
`GET` answers `HEAD`. Send `X-Request-ID` (1-128 of `A-Z a-z 0-9 . _ -`) to find your request in the logs; every
response carries it.

**Keys** say who makes a request: send one as `Authorization: Bearer <key>`. Each operation names the scope it takes. A
key that is bound to a user sees and changes that user and that user's posts, and reads what others have published.
**Retries** of a `POST` are safe with an `Idempotency-Key`. **Rates** are limited for each key; `RateLimit` tells what
is left.
"""
_CONTACT = {"name": "Hexapost", "url": "https://hexapost.example/", "email": "hexapost@hexapost.example"}
_RATE_HEADERS = ("RateLimit", "RateLimit-Policy")
_TAGS = [
    {"name": "api-keys", "description": "Who may do what: for those who run the service."},
    {"name": "health", "description": "Probes for those who run the service."},
    {"name": "posts", "description": "What is written: draft -> published <-> archived."},
    {"name": "users", "description": "Who writes."},
]


def build(app: FastAPI) -> Json:
    """Return the document of the application."""
    document = get_openapi(
        title="Hexapost",
        version=app.version,
        summary="Users and posts.",
        description=_DESCRIPTION,
        routes=app.routes,
        tags=_TAGS,
        servers=[{"url": "/", "description": "The service that serves this document."}],
        license_info={"name": "MIT", "url": "https://opensource.org/license/mit"},
    )
    document["info"]["contact"] = _CONTACT  # after FastAPI, which wants email-validator to read it
    components = document["components"]
    components["schemas"].update(Problem=PROBLEM, FieldError=FIELD_ERROR)
    used = set(re.findall("#/components/examples/([a-z-]+)", json.dumps(document["paths"])))
    examples = {name: example for name, example in (problem_examples() | api_keys.EXAMPLES).items() if name in used}
    components["securitySchemes"] = SCHEMES
    components.update(headers=HEADERS, parameters=PARAMETERS, examples=examples)
    for operation in (one for path in document["paths"].values() for one in path.values()):
        _complete(operation)
    for path, operation_id in HEAD_OPERATIONS.items():
        document["paths"][path]["head"] = _head(document["paths"][path]["get"], operation_id)
    return document


def openapi_document(app: FastAPI) -> str:
    """Return the document as text: indented, in a stable order, with a line break at its end."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"


def _complete(operation: Json) -> None:
    """Add what follows from whether an operation takes a key."""
    if not operation.setdefault("security", []):
        return
    operation["description"] += f"\n\nThe key needs the scope `{operation[REQUIRED_SCOPE]}`."
    for status, response in operation["responses"].items():
        if status != "401":
            response["headers"].update({name: {"$ref": f"#/components/headers/{name}"} for name in _RATE_HEADERS})


def _head(get: Json, operation_id: str) -> Json:
    head = deepcopy(get)
    head["operationId"] = operation_id
    head["summary"] = f"Look at {get['summary'].removeprefix('Read ')}"
    head["description"] = (
        f"The headers of the answer to GET, without its body.\n\nThe key needs the scope `{get[REQUIRED_SCOPE]}`."
    )
    for response in head["responses"].values():
        response.pop("content", None)
    return head
