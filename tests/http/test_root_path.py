"""Tests for the prefix of all paths behind a proxy, which removes or keeps it in requests."""

import json
import re
from collections.abc import AsyncIterator

import httpx
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette
from starlette.routing import Mount, Route

from adapters.http.middleware.admission import AdmissionController
from adapters.setting_values import parse_root_path
from tests.http.openapi_document import check
from tests.http.raw_connection import listening
from tests.http.support import ADA, ADMIN_KEY, NOBODY, Api, bearer, once, serving

ROOT = "/services/hexapost"
USERS = "/api/v1/users"
FORMS = pytest.mark.parametrize("sent", ["", ROOT], ids=["removed", "kept"])


@pytest.fixture(scope="module")
async def proxied_api() -> AsyncIterator[Api]:
    async with serving(root_path=ROOT, admission=AdmissionController(1)) as made:
        yield made


@FORMS
async def test_location_and_link_have_the_root_path(proxied_api: Api, sent: str) -> None:
    client = proxied_api.client
    for number in range(2):
        body = {**ADA, "email": f"{number}{len(sent)}@example.org"}
        created = await client.post(f"{sent}{USERS}/", json=body)
        assert created.headers["location"] == f"{ROOT}{USERS}/{created.json()['id']}"
        assert (await client.get(created.headers["location"])).json() == created.json()
    page = await client.get(f"{sent}{USERS}?limit=1")
    link = re.fullmatch(f'<({ROOT}{USERS}\\?limit=1&cursor=[^>]+)>; rel="next"', page.headers["link"])
    assert link is not None
    following = await client.get(link[1])
    assert (following.status_code, len(following.json()["items"])) == (200, 1)


async def test_retry_through_the_other_form_is_a_replay(proxied_api: Api) -> None:
    body = {**ADA, "email": "retry@example.org"}
    for path, replayed in ((USERS, None), (ROOT + USERS, "true")):
        response = await proxied_api.client.post(path, json=body, headers=once("one"))
        assert (response.status_code, response.headers.get("idempotency-replayed")) == (201, replayed)
        assert response.headers["location"].startswith(f"{ROOT}{USERS}/")


@FORMS
@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{USERS}/{NOBODY}", 404, "user-not-found"),
        (f"{USERS}?x=1", 422, "validation-failed"),
        ("/livez/", 405, "method-not-allowed"),
        ("/nowhere", 404, "not-found"),
    ],
)
async def test_problem_type_has_the_root_path(proxied_api: Api, sent: str, path: str, status: int, code: str) -> None:
    method = "PUT" if status == 405 else "GET"
    response = await proxied_api.client.request(method, f"{sent}{path}")
    assert (response.status_code, response.json()["type"]) == (status, f"{ROOT}/problems/{code}")
    check({"$ref": "#/components/schemas/Problem"}, response.json())
    assert (await proxied_api.client.get(response.json()["type"])).status_code == 200


async def test_path_with_a_similar_prefix_is_unknown(proxied_api: Api) -> None:
    for path in ("/services/hexaposts/livez", "/services/hexapostlivez", "/services/livez", "/services/Hexapost/livez"):
        assert (await proxied_api.client.get(path)).status_code == 404
    for path in (ROOT, f"{ROOT}/", "/"):
        assert f"<code>{ROOT}/api/v1</code>" in (await proxied_api.client.get(path)).text


@FORMS
@pytest.mark.parametrize("path", ["/", "/docs", "/docs/", "/problems", "/problems/validation-failed"])
async def test_links_of_pages_have_the_root_path(proxied_api: Api, sent: str, path: str) -> None:
    text = (await proxied_api.client.get(f"{sent}{path}")).text
    addresses = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(addresses) >= 5
    for address in addresses:
        assert address.startswith(f"{ROOT}/")
        assert (await proxied_api.client.get(address)).status_code == 200
    if path == "/problems/validation-failed":
        assert f'"type": "{ROOT}/problems/validation-failed"' in text


async def test_openapi_document_has_the_root_path_as_server(proxied_api: Api, api: Api) -> None:
    text = (await proxied_api.client.get("/openapi.json")).text
    document = json.loads(text)
    OpenAPIV31SpecValidator(document).validate()
    assert document["servers"][0]["url"] == ROOT
    plain = (await api.client.get("/openapi.json")).text
    assert document["paths"].keys() == json.loads(plain)["paths"].keys()
    assert text.count(f"]({ROOT}/problems/") == plain.count("](/problems/") > 0
    assert text.count(f'"{ROOT}/problems/') == plain.count('"type": "/problems/') > 0


@FORMS
async def test_probe_has_its_reserve_and_its_route(proxied_api: Api, sent: str) -> None:
    slot = proxied_api.app.state.hexapost.options.admission.find_slot(USERS)
    slot.active_requests += 1
    try:
        assert (await proxied_api.client.get(f"{sent}/livez")).status_code == 200
        rejected = await proxied_api.client.get(f"{sent}{USERS}")
    finally:
        slot.active_requests -= 1
    assert (rejected.status_code, rejected.json()["type"]) == (503, f"{ROOT}/problems/overloaded")
    assert [event["route"] for event in proxied_api.log[-2:]] == ["/livez", None]


async def test_rejection_of_the_protocol_has_the_root_path() -> None:
    async with listening(root_path=ROOT) as wire:
        assert f'"type":"{ROOT}/problems/malformed-request"'.encode() in await wire.send_and_read(b"nonsense\r\n\r\n")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X-Forwarded-Prefix", "/evil"),
        ("X-Forwarded-Host", "evil.example"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-For", "192.0.2.1"),
        ("Forwarded", "for=192.0.2.1;host=evil.example;proto=https"),
        ("X-Script-Name", "/evil"),
        ("Host", "evil.example"),
    ],
)
async def test_forwarded_headers_have_no_effect(api: Api, name: str, value: str) -> None:
    user = await api.user()
    fixed = {"x-request-id": "one"}
    for path in (f"{USERS}/{user['id']}", f"{USERS}?limit=1", "/nowhere", "/docs", "/openapi.json"):
        plain = await api.client.get(path, headers=fixed)
        forwarded = await api.client.get(path, headers={**fixed, name: value})
        assert forwarded.status_code == plain.status_code
        assert forwarded.headers == plain.headers
        assert forwarded.content == plain.content


async def test_root_path_of_the_server_is_used_without_a_setting(api: Api) -> None:
    parent = Starlette(routes=[Mount("/pärent", api.app)])
    transport = httpx.ASGITransport(parent)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://hexapost.test", headers=bearer(ADMIN_KEY)
    ) as client:
        created = await client.post(f"/pärent{USERS}", json=ADA)
        assert created.headers["location"] == f"/p%C3%A4rent{USERS}/{created.json()['id']}"
        document = (await client.get("/pärent/openapi.json")).json()
        assert document["servers"][0]["url"] == "/p%C3%A4rent"
        assert "<h1>Hexapost</h1>" in (await client.get("/pärent/")).text


async def test_path_of_the_service_is_no_root_path(api: Api) -> None:
    for route in api.app.routes:
        assert isinstance(route, Route)
        path = re.sub(r"\{\w+\}", "x", route.path)
        for part in [path[: found.start()] for found in re.finditer("/|$", path)]:
            if part.strip("/"):
                with pytest.raises(ValueError, match="must not be a path of the service"):
                    parse_root_path(part)
