"""The API key resource, for operators: routes, request and response bodies."""

from datetime import datetime
from typing import Annotated, Any, NotRequired
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import BeforeValidator, ConfigDict, Field, PlainValidator, TypeAdapter, with_config
from typing_extensions import TypedDict

from adapters.http import field_types, responses
from adapters.http.idempotency import idempotent_request
from adapters.http.openapi.components import Json
from adapters.http.openapi.operations import Resource, links
from adapters.http.pagination import PageRequest
from adapters.http.problems.catalog import domain_problem
from adapters.http.routing import ApiRequest, StrictRoute, operation_id
from application.api_key_tokens import API_KEY_LENGTH, API_KEY_PATTERN
from application.api_keys import CreatedApiKey
from domain import api_keys
from domain.api_keys import ApiKey, Scope

PATH = "/api/v1/api-keys"
TAG = {"name": "api-keys", "description": "API key administration (operators)."}
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
API_KEY_NOT_FOUND = domain_problem(
    api_keys.ApiKeyNotFoundError,
    title="API key not found",
    resolution="Check the ID. It is the part of the key between hexa_ and the next _, written as a UUID.",
)

KeyId = Annotated[field_types.Identifier, Path(description="ID of the API key.", examples=[EXAMPLE["id"]])]
_Name = Annotated[
    str,
    field_types.text(api_keys.MAX_API_KEY_NAME_LENGTH),
    Field(description="Label for humans, in one line."),
]
_Scopes = Annotated[frozenset[Scope], Field(min_length=1, max_length=len(Scope), description="Granted scopes.")]
_USER_ID = Field(description="ID of the user to which the key is bound. Such a key has only user and post scopes.")


@with_config(field_types.request_body(name="nightly import", scopes=["posts:read", "posts:write"]))
class CreateApiKeyRequest(TypedDict):
    """An API key to create. By default it is not bound to a user and does not expire."""

    name: _Name
    scopes: Annotated[
        frozenset[Scope],
        PlainValidator(field_types.enum_set(*Scope), json_schema_input_type=_Scopes),
        Field(description="Granted scopes, a subset of those of the key you use."),
    ]
    user_id: NotRequired[Annotated[field_types.Identifier | None, _USER_ID]]
    expires_at: NotRequired[
        Annotated[field_types.InputDatetime | None, Field(description="Expiry, in the future; null for never.")]
    ]


@with_config(field_types.response_body(EXAMPLE))
class ApiKeyResponse(TypedDict):
    """An API key without its secret."""

    id: Annotated[UUID, Field(description="Identifier of the key; also embedded in the key after `hexa_`.")]
    name: _Name
    scopes: _Scopes
    user_id: Annotated[UUID | None, _USER_ID]
    created_at: field_types.CreatedAt
    expires_at: Annotated[datetime | None, Field(description="Expiry; null for never.")]
    last_used_at: Annotated[
        datetime | None, Field(description="Time of the last use, accurate to about a minute; null if never used.")
    ]
    revoked_at: Annotated[datetime | None, Field(description="Time of revocation; null if the key is not revoked.")]


@with_config(field_types.response_body({**EXAMPLE, "key": "hexa_0198a3c72b517e048d3a94c1f0b27e58_" + "x" * 38}))
class CreatedApiKeyResponse(ApiKeyResponse):
    """A new API key with its secret, which is not shown again."""

    key: Annotated[
        str,
        Field(
            min_length=API_KEY_LENGTH,
            max_length=API_KEY_LENGTH,
            pattern=API_KEY_PATTERN,
            description="The API key, for `Authorization: Bearer <key>`. Store it: it is not shown again.",
        ),
    ]


class ApiKeyPage(TypedDict):
    """A page of API keys."""

    items: Annotated[list[ApiKeyResponse], field_types.PAGE_ITEMS]
    next_cursor: field_types.NextCursor


_API_KEY = Resource(
    name="API key",
    title="an API key",
    model=ApiKeyResponse,
    read=Scope.KEYS_ADMIN,
    write=Scope.KEYS_ADMIN,
    not_found=API_KEY_NOT_FOUND,
    is_versioned=False,
)
_LINKS = links("key_id", "id", get_api_key="The API key.", revoke_api_key="Revoke the API key.")


def _add_family(stored: Any) -> Any:
    """Add the fields that a result of a release without families lacks."""
    key, text = stored
    return {"family_id": None, "family_secret": None} | key, text


_RESULT = TypeAdapter[CreatedApiKey](
    Annotated[CreatedApiKey, BeforeValidator(_add_family)],
    config=ConfigDict(ser_json_bytes="base64", val_json_bytes="base64"),
)
_projection = responses.projection(ApiKeyResponse)


def api_key_response(key: ApiKey) -> dict[str, Any]:
    """Return the response body of a key."""
    return {**_projection(key), "scopes": sorted(key.scopes)}


router = APIRouter(prefix=PATH, tags=["api-keys"], route_class=StrictRoute, generate_unique_id_function=operation_id)


@router.get("", **_API_KEY.list(ApiKeyPage))
async def list_api_keys(
    request: ApiRequest, limit: field_types.Limit = 20, cursor: field_types.Cursor = None
) -> Response:
    """Return a page of API keys, newest first, including revoked and expired keys."""
    page = PageRequest(request, PATH, limit=limit, cursor=cursor, filters={})
    found = await request.application.use_cases.api_keys.list(request.principal, limit=limit, after=page.after(UUID))
    return page.response(found, api_key_response)


@router.post("", **_API_KEY.create(links=_LINKS, model=CreatedApiKeyResponse))
async def create_api_key(request: ApiRequest, body: CreateApiKeyRequest) -> Response:
    """Create an API key with at most the scopes and the lifetime of the key you use.

    The response contains the key, which is not shown again.
    """
    created, is_replay = await request.application.use_cases.api_keys.create_once(
        request.principal, await idempotent_request(request, _RESULT), **body
    )
    response = {**api_key_response(created.key), "key": created.text}
    return responses.created_response(request, response, f"{PATH}/{created.key.id}", is_replay=is_replay)


@router.get("/{key_id}", **_API_KEY.get())
async def get_api_key(request: ApiRequest, key_id: KeyId) -> Response:
    """Return one API key without its secret."""
    key = await request.application.use_cases.api_keys.get(request.principal, key_id)
    return responses.JsonResponse(200, api_key_response(key), responses.REVALIDATE)


@router.delete("/{key_id}", **_API_KEY.delete("Revoke"))
async def revoke_api_key(request: ApiRequest, key_id: KeyId) -> Response:
    """Revoke the key. It is rejected at once by this process and within `HEXAPOST_API_KEY_CACHE_SECONDS` by all others.

    Revoked keys stay in the list. A second revocation has no effect.
    """
    await request.application.use_cases.api_keys.revoke(request.principal, key_id)
    return Response(status_code=204)
