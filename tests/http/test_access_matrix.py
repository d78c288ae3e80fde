"""Tests for the authorization of each operation in openapi.json."""

import re
from copy import deepcopy
from dataclasses import dataclass, replace
from uuid import UUID

import httpx
import pytest
from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from adapters.http.routing import REQUIRED_SCOPE, StrictRoute, requires_scope
from adapters.memory.tables import Tables
from domain.api_keys import USER_SCOPES, Scope
from tests.http.openapi_document import examples, operations
from tests.http.support import NOBODY, Api, Json, bearer, check_problem, stored_key
from tests.support.principals import CountingStorage
from tests.support.service_factories import START

CHALLENGE = 'Bearer realm="hexapost"'
PUBLIC = {
    "/", "/docs", "/docs/assets/{name}", "/livez", "/openapi.json", "/problems", "/problems/{code}", "/readyz",
}  # fmt: skip


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    document: Json

    @property
    def scope(self) -> Scope:
        return Scope(self.document[REQUIRED_SCOPE])

    def requests(self) -> list[tuple[str, Json] | None]:
        """Return the media type and the body of each example of a request, or None for a request without a body."""
        bodies = self.document.get("requestBody", {}).get("content", {})
        return [(media_type, body) for media_type, one in bodies.items() for body in examples(one)] or [None]


SECURED = {
    one["operationId"]: Operation(method.upper(), path, one) for method, path, one in operations() if one["security"]
}
every_operation = pytest.mark.parametrize("operation", SECURED.values(), ids=SECURED)


@dataclass(frozen=True)
class World:
    """Ada with a draft, Bob, an API key, and the ID of an erased user."""

    api: Api
    storage: CountingStorage
    ada: Json
    bob: Json
    draft: Json
    spare_id: str
    erased_id: str

    async def ask(self, operation: Operation, headers: dict[str, str], number: int = 0) -> httpx.Response:
        """Send an example of the operation about Ada, with an API key in the headers."""
        user_id = self.erased_id if "/erasures/" in operation.path else self.ada["id"]
        ids = {"user_id": user_id, "post_id": self.draft["id"], "key_id": self.spare_id}
        path = re.sub(r"{(\w+)}", lambda found: str(ids.get(found[1], NOBODY)), operation.path)
        given: Json = {}
        if example := operation.requests()[number]:
            headers = {"Content-Type": example[0], **headers}
            about = {"author_id": self.ada["id"], "scopes": [operation.scope], "status": "published"}
            given = {"json": {**example[1], **{name: about[name] for name in about.keys() & example[1].keys()}}}
        return await self.api.client.request(operation.method, path, headers=headers, **given)

    def stored(self) -> Tables:
        """Return a copy of the stored rows without the last use of keys."""
        found = deepcopy(self.storage._tables)
        found.api_keys = {id_: replace(key, last_used_at=None) for id_, key in found.api_keys.items()}
        return found


@pytest.fixture
async def world(api: Api, storage: CountingStorage) -> World:
    ada = await api.user(email="countess@ada.example")
    bob = await api.user(email="bob@example.net")
    draft = await api.post(ada, title="A secret of Ada's")
    spare = await stored_key(storage, Scope.METRICS_READ)
    erased = (await api.user(email="erased@example.net"))["id"]
    await api.client.delete(f"/api/v1/users/{erased}")
    return World(api, storage, ada, bob, draft, str(UUID(hex=spare.split("_")[1])), erased)


def _check(response: httpx.Response, status: int, code: str) -> str:
    """Check that the response is this problem, without a body for HEAD, and return its detail."""
    if response.request.method == "HEAD":
        assert (response.status_code, response.content) == (status, b"")
        return ""
    return str(check_problem(response, status, code)["detail"])


@every_operation
async def test_operation_returns_401_without_an_active_key(world: World, operation: Operation) -> None:
    expired = await stored_key(world.storage, expires_at=START.replace(year=2020))
    revoked = await stored_key(world.storage, revoked_at=START)
    before = world.stored()
    for authorization in ("", "Bearer x", f"Bearer {expired}", f"Bearer {revoked}"):
        response = await world.ask(operation, {"Authorization": authorization})
        _check(response, 401, "unauthenticated")
        assert response.headers["www-authenticate"] == CHALLENGE
    assert world.stored() == before


@every_operation
async def test_operation_returns_403_without_its_scope(world: World, operation: Operation) -> None:
    missing = [scope for scope in Scope if scope is not operation.scope]
    keys = [await stored_key(world.storage, *scopes) for scopes in [*([scope] for scope in missing), missing]]
    before = world.stored()
    for key in keys:
        response = await world.ask(operation, bearer(key))
        assert _check(response, 403, "forbidden") in {"", f"The API key lacks the scope {operation.scope}."}
        challenge = f'{CHALLENGE}, error="insufficient_scope", scope="{operation.scope}"'
        assert response.headers.get_list("www-authenticate") == [challenge]
        assert world.ada["email"] not in response.text
        assert world.api.log[-1]["api_key_id"].replace("-", "") == key.split("_")[1]
        assert key not in repr(world.api.log)
    assert world.stored() == before


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, one in SECURED.items() for number in range(len(one.requests()))]
)
async def test_operation_accepts_its_examples_with_its_scope(world: World, name: str, number: int) -> None:
    operation = SECURED[name]
    response = await world.ask(operation, bearer(await stored_key(world.storage, operation.scope)), number)
    has_ids = {"user_id", "post_id", "key_id"} >= set(re.findall(r"{(\w+)}", operation.path))
    assert response.is_success or (response.status_code == 404 and not has_ids), response.text


@every_operation
async def test_operation_hides_data_from_keys_of_another_user(world: World, operation: Operation) -> None:
    key = await stored_key(world.storage, *USER_SCOPES, user_id=UUID(world.bob["id"]))
    before = world.stored()
    response = await world.ask(operation, bearer(key))
    if operation.method in {"GET", "HEAD"} and "{" not in operation.path and operation.scope in USER_SCOPES:
        assert response.status_code == 200
    else:
        # An author that the key cannot see is reported as missing, with 422.
        assert response.status_code in {403, 404} or response.json()["type"] == "/problems/author-not-found"
    text = response.text.replace(world.ada["id"], "", response.request.url.path.count(world.ada["id"]))
    for secret in (world.ada["id"], world.ada["email"], world.draft["id"], world.draft["title"]):
        assert secret not in text
    assert world.stored() == before


async def test_route_requires_a_scope_unless_listed_as_public(api: Api) -> None:
    public, secured_ids = set(), set()
    for route in api.app.routes:
        assert isinstance(route, APIRoute)
        if route.path.startswith("/api/") or route.path == "/metrics":
            assert isinstance(route, StrictRoute), route.path
            assert (route.openapi_extra or {})[REQUIRED_SCOPE] in set(Scope), route.path
            secured_ids.add(route.unique_id)
        else:
            assert not isinstance(route, StrictRoute), route.path
            public.add(route.path)
    assert public == PUBLIC
    assert secured_ids == {name for name in SECURED if not name.startswith("head_")}


async def _endpoint(request: Request) -> Response:
    return Response(request.url.path)


@pytest.mark.parametrize("extra", [None, {}, {"security": []}, {REQUIRED_SCOPE: "users"}, {REQUIRED_SCOPE: ""}])
def test_strict_route_raises_without_a_scope(extra: Json | None) -> None:
    router = APIRouter(route_class=StrictRoute)
    with pytest.raises(ValueError, match=r"[Ss]cope"):
        router.get("/x", openapi_extra=extra)(_endpoint)
    router.get("/x", openapi_extra=requires_scope(Scope.USERS_READ))(_endpoint)
