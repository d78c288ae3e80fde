"""The API key resource, for operators: routes, request and response bodies."""

from datetime import datetime
from typing import Annotated, Any, NotRequired
from uuid import UUID

from fastapi import APIRouter, Body, Path, Response
from pydantic import AfterValidator, ConfigDict, Field, PlainValidator, TypeAdapter, WithJsonSchema, with_config
from typing_extensions import TypedDict

from adapters.http import field_types, responses
from adapters.http.idempotency import PROBLEMS as IDEMPOTENCY_PROBLEMS
from adapters.http.idempotency import idempotent_request
from adapters.http.openapi import responses as doc
from adapters.http.openapi.components import Json
from adapters.http.pagination import PageRequest
from adapters.http.problems import catalog
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from adapters.http.security.scopes import requires_scope
from application.api_key_tokens import API_KEY_LENGTH, API_KEY_PATTERN
from application.api_keys import CreatedApiKey
from domain.api_keys import MAX_API_KEY_NAME_LENGTH, ApiKey, ApiKeyNotFoundError, Scope, normalize_api_key_name
from domain.text_rules import SINGLE_LINE_PATTERN

PATH = "/api/v1/api-keys"
EXAMPLE: Json = {
    "id": "0198a3c7-2b51-7e04-8d3a-94c1f0b27e58",
    "name": "nightly import",
    "scopes": ["posts:read", "posts:write"],
    "user_id": None,
    "created_at": "2026-01-15T09:30:00.123456Z",
    "expires_at": "2026-04-15T00:00:00Z",
    "last_used_at": None,
    "revoked_at": None,
}
EXAMPLES: Json = {
    "api-key": {"summary": "An API key", "value": EXAMPLE},
    "api-keys": {"summary": "A page of API keys", "value": {"items": [EXAMPLE], "next_cursor": doc.EXAMPLE_CURSOR}},
    "issued-api-key": {
        "summary": "A new API key",
        "value": {**EXAMPLE, "key": "hexa_0198a3c72b517e048d3a94c1f0b27e58_" + "x" * 38},
    },
}
API_KEY_NOT_FOUND = catalog.domain_problem(
    ApiKeyNotFoundError,
    title="API key not found",
    resolution="Check the ID. It is the part of the key between hexa_ and the next _, written as a UUID.",
)
KeyId = Annotated[field_types.Identifier, Path(description="ID of the API key.", examples=[EXAMPLE["id"]])]

SCOPE_SCHEMA: Json = {"type": "string", "enum": list(Scope), "description": "A permission of an API key."}
_SCOPES_SCHEMA: Json = {
    "type": "array",
    "items": {"$ref": "#/components/schemas/Scope"},
    "minItems": 1,
    "maxItems": len(Scope),
    "uniqueItems": True,
}
_NAME_SCHEMA = field_types.text_schema(SINGLE_LINE_PATTERN, MAX_API_KEY_NAME_LENGTH)
_Name = Annotated[
    str,
    Field(strict=True, max_length=MAX_API_KEY_NAME_LENGTH, description="Label for humans, in one line."),
    AfterValidator(normalize_api_key_name),
    WithJsonSchema(_NAME_SCHEMA),
]
_Scopes = Annotated[
    frozenset[Scope],
    PlainValidator(field_types.enum_set(*Scope)),
    WithJsonSchema(_SCOPES_SCHEMA),
    Field(description="Granted scopes, a subset of those of the key you use."),
]


@with_config(field_types.STRICT)
class CreateApiKeyRequest(TypedDict):
    """An API key to create. By default it is not bound to a user and does not expire."""

    name: _Name
    scopes: _Scopes
    user_id: NotRequired[
        Annotated[
            field_types.Identifier | None,
            WithJsonSchema(field_types.nullable(field_types.ID_SCHEMA)),
            Field(description="ID of the user to which the key is bound. Such a key has only user and post scopes."),
        ]
    ]
    expires_at: NotRequired[
        Annotated[
            field_types.InputDatetime | None,
            WithJsonSchema(field_types.nullable(field_types.TIME_SCHEMA)),
            Field(description="Expiry, in the future; null for never."),
        ]
    ]


_NULLABLE_TIME = WithJsonSchema(field_types.nullable(field_types.TIME_SCHEMA))


class ApiKeyResponse(TypedDict):
    """An API key without its secret."""

    id: Annotated[
        UUID,
        WithJsonSchema(field_types.ID_SCHEMA),
        Field(description="Identifier of the key; also embedded in the key after `hexa_`."),
    ]
    name: Annotated[str, WithJsonSchema(_NAME_SCHEMA), Field(description="Label for humans.")]
    scopes: Annotated[list[str], WithJsonSchema(_SCOPES_SCHEMA), Field(description="Granted scopes.")]
    user_id: Annotated[
        UUID | None,
        WithJsonSchema(field_types.nullable(field_types.ID_SCHEMA)),
        Field(description="ID of the user to which the key is bound; null if it is not bound."),
    ]
    created_at: Annotated[field_types.Time, Field(description="Time of creation.")]
    expires_at: Annotated[datetime | None, _NULLABLE_TIME, Field(description="Expiry; null for never.")]
    last_used_at: Annotated[
        datetime | None, _NULLABLE_TIME, Field(description="Time of the last use, accurate to about a minute.")
    ]
    revoked_at: Annotated[
        datetime | None, _NULLABLE_TIME, Field(description="Time of revocation; null if the key is not revoked.")
    ]


class IssuedApiKeyResponse(ApiKeyResponse):
    """A new API key with its secret, which is not shown again."""

    key: Annotated[
        str,
        Field(
            min_length=API_KEY_LENGTH,
            max_length=API_KEY_LENGTH,
            pattern=API_KEY_PATTERN,
            description="The API key, for `Authorization: Bearer …`. Store it: it is not shown again.",
        ),
    ]


class ApiKeyPage(TypedDict):
    """A page of API keys."""

    items: Annotated[
        list[ApiKeyResponse], Field(max_length=field_types.MAX_PAGE_SIZE, description="API keys, newest first.")
    ]
    next_cursor: field_types.NextCursor


_projection = responses.projection(ApiKeyResponse)


def api_key_response(key: ApiKey) -> dict[str, Any]:
    """Return the response body of a key."""
    return {**_projection(key), "scopes": sorted(key.scopes)}


_RESULT = TypeAdapter(CreatedApiKey, config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"))


_LINKS = doc.links("key_id", "id", get_api_key="Get the API key.", revoke_api_key="Revoke the API key.")

router = APIRouter(prefix=PATH, tags=["api-keys"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get(
    "/{key_id}",
    response_model=ApiKeyResponse,
    summary="Get an API key",
    responses={
        200: doc.response("The API key without its secret.", example="api-key"),
        **doc.errors(API_KEY_NOT_FOUND, catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra=requires_scope(Scope.KEYS_ADMIN),
)
async def get_api_key(request: ApiRequest, key_id: KeyId) -> Response:
    """Return one API key without its secret."""
    key = await request.application.use_cases.api_keys.get(request.principal, key_id)
    return responses.json_ok(api_key_response(key), responses.REVALIDATE)


@router.get(
    "",
    response_model=ApiKeyPage,
    summary="List API keys",
    responses={
        200: doc.response("A page of API keys.", headers=["Link"], example="api-keys"),
        **doc.errors(catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra=requires_scope(Scope.KEYS_ADMIN),
)
async def list_api_keys(
    request: ApiRequest, limit: field_types.Limit = 20, cursor: field_types.Cursor = None
) -> Response:
    """Return a page of API keys, newest first, including revoked and expired keys."""
    listing = PageRequest(request, PATH, limit=limit, cursor=cursor, filters={})
    found = await request.application.use_cases.api_keys.list(request.principal, limit=limit, after=listing.after_id())
    return listing.response(found, api_key_response)


@router.post(
    "",
    status_code=201,
    response_model=IssuedApiKeyResponse,
    summary="Create an API key",
    responses={
        201: doc.response(
            "The new API key. `key` is not shown again.",
            headers=["Location", "Idempotency-Replayed"],
            example="issued-api-key",
            links=_LINKS,
        ),
        **doc.errors(*doc.API_PROBLEMS, *IDEMPOTENCY_PROBLEMS, accept="Accept-Post"),
    },
    openapi_extra={**requires_scope(Scope.KEYS_ADMIN), **doc.parameters("Idempotency-Key")},
)
async def create_api_key(
    request: ApiRequest,
    body: Annotated[
        CreateApiKeyRequest,
        Body(examples=[{"name": "nightly import", "scopes": ["posts:read", "posts:write"]}]),
    ],
) -> Response:
    """Create an API key with at most the scopes and the lifetime of the key you use."""
    issued, is_replay = await request.application.use_cases.api_keys.create_once(
        request.principal, await idempotent_request(request, _RESULT), **body
    )
    response = {**api_key_response(issued.key), "key": issued.text}
    return responses.created_response(response, location=f"{PATH}/{issued.key.id}", is_replay=is_replay)


@router.delete(
    "/{key_id}",
    status_code=204,
    summary="Revoke an API key",
    responses={
        204: doc.response("The API key was revoked."),
        **doc.errors(API_KEY_NOT_FOUND, catalog.VALIDATION_FAILED, *doc.API_PROBLEMS),
    },
    openapi_extra=requires_scope(Scope.KEYS_ADMIN),
)
async def revoke_api_key(request: ApiRequest, key_id: KeyId) -> Response:
    """Revoke the key. It is rejected at once by this process and within `HEXAPOST_API_KEY_CACHE_SECONDS` by all others.

    Revoked keys stay in the list. A second revocation has no effect.
    """
    await request.application.use_cases.api_keys.revoke(request.principal, key_id)
    return Response(status_code=204)
