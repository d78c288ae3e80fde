"""Tests for public pages: documentation, problem types and probes."""

import json
import re
from importlib.resources import files

import pytest
from fastapi import Request, Response

from adapters.http.dependencies import ComponentStatus
from adapters.http.html_pages import html_page
from adapters.http.problems.catalog import PROBLEMS
from tests.http.support import Api, FailingStorage, call, check_problem, serving

CONTRACT = {
    "malformed-request": 400, "malformed-json": 400, "unauthenticated": 401, "forbidden": 403, "not-found": 404,
    "user-not-found": 404, "post-not-found": 404, "api-key-not-found": 404, "method-not-allowed": 405,
    "request-timeout": 408,
    "email-already-registered": 409, "author-inactive": 409,
    "invalid-transition": 409, "idempotency-in-flight": 409, "idempotency-record-erased": 410, "version-mismatch": 412,
    "body-too-large": 413,
    "unsupported-media-type": 415, "validation-failed": 422, "author-not-found": 422, "idempotency-key-reused": 422,
    "rate-limited": 429, "request-header-fields-too-large": 431,
    "internal-error": 500, "overloaded": 503, "database-unavailable": 503,
}  # fmt: skip


def test_problem_catalog_has_the_documented_statuses() -> None:
    assert {code: PROBLEMS[code].status for code in CONTRACT} == CONTRACT
    assert {code for code, problem in PROBLEMS.items() if problem.status in {429, 503}} <= {
        code for code, problem in PROBLEMS.items() if problem.retry_after
    }


@pytest.mark.parametrize("code", CONTRACT)
async def test_problem_page_describes_the_problem(api: Api, code: str) -> None:
    response = await api.client.get(f"/problems/{code}")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert response.headers["cache-control"] == "public, max-age=3600"
    assert PROBLEMS[code].title in response.text
    assert f"status {CONTRACT[code]}" in response.text
    for heading in ("Meaning", "Resolution", "Example"):
        assert f"<h2>{heading}</h2>" in response.text
    example = re.search("<pre><code>(.*)</code></pre>", response.text, re.DOTALL)
    assert example is not None
    body = json.loads(example[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert (body["type"], body["status"]) == (f"/problems/{code}", CONTRACT[code])


async def test_problem_index_lists_all_problems(api: Api) -> None:
    text = (await api.client.get("/problems")).text
    assert re.findall('href="/problems/([a-z-]+)"', text) == sorted(
        PROBLEMS, key=lambda code: (PROBLEMS[code].status, code)
    )


async def test_html_page_escapes_its_title() -> None:
    async def page(request: Request) -> Response:
        return html_page(request, "<a>", "")

    async with serving() as api:
        api.app.add_api_route("/page", page)
        assert "<title>&lt;a&gt;</title>" in (await api.client.get("/page")).text


async def test_landing_page_links_to_the_public_pages(api: Api) -> None:
    response = await api.client.get("/")
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    main = response.text.partition("<main>")[2]
    assert re.findall('href="([^"]*)"', main) == ["/docs", "/problems", "/openapi.json", "/livez", "/readyz"]
    assert f"Version {api.app.version}" in main


@pytest.mark.parametrize("path", ["/", "/docs", "/problems", "/problems/validation-failed"])
async def test_page_loads_local_files_only(api: Api, path: str) -> None:
    response = await api.client.get(path)
    assert response.status_code == 200
    for address in re.findall(r'(?:src|href)="([^"]*)"', response.text):
        assert re.match(r"/(?!/)", address), address
        assert (await api.client.get(address)).status_code == 200, address
    assert "//" not in re.sub(r"<pre>.*</pre>", "", response.text, flags=re.DOTALL)
    policy = response.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert ("script-src" in policy) == (path == "/docs")
    assert "http" not in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe-inline'" not in policy


async def test_docs_page_has_no_inline_script(api: Api) -> None:
    text = (await api.client.get("/docs/")).text
    assert re.findall("<script[^>]*>(.*?)</script>", text) == ["", ""]
    script = (await api.client.get("/docs/assets/docs.js")).text
    for option in ("url: openapiUrl", "validatorUrl: null", "filter: true", "persistAuthorization: true"):
        assert option in script
    assert "://" not in script


@pytest.mark.parametrize(
    ("package", "name", "media_type"),
    [
        ("fastapi_offline", "swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("fastapi_offline", "swagger-ui.css", "text/css; charset=utf-8"),
        ("fastapi_offline", "favicon.png", "image/png"),
        ("adapters.http", "docs.js", "text/javascript; charset=utf-8"),
        ("adapters.http", "style.css", "text/css; charset=utf-8"),
    ],
)
async def test_docs_asset_is_served_with_an_etag(api: Api, package: str, name: str, media_type: str) -> None:
    response = await api.client.get(f"/docs/assets/{name}")
    assert response.status_code == 200
    assert response.content == (files(package) / "static" / name).read_bytes()
    assert response.headers["content-type"] == media_type
    assert response.headers["cache-control"] == "public, no-cache"
    headers = {"if-none-match": response.headers["etag"]}
    again = await api.client.get(f"/docs/assets/{name}", headers=headers)
    assert (again.status_code, again.content) == (304, b"")


async def test_document_is_compressed_for_the_second_of_two_headers(api: Api) -> None:
    headers = [(b"accept-encoding", b"br"), (b"accept-encoding", b"gzip")]
    response = await call(api.app, "GET", "/openapi.json", headers=headers)
    assert response.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/openapi.json", "/docs/assets/style.css"])
async def test_document_and_assets_check_if_match(api: Api, method: str, path: str) -> None:
    tag = (await api.client.get(path)).headers["etag"]
    for value, status in [(tag, 200), ("*", 200), (f'"x", {tag}', 200), ('"x"', 412)]:
        assert (await api.client.request(method, path, headers={"if-match": value})).status_code == status


@pytest.mark.parametrize("path", ["/openapi.json", "/docs/assets/swagger-ui-bundle.js"])
@pytest.mark.parametrize("accepted", ["gzip", "GZIP;q=0.001", "br, gzip ; q=1.000, *;q=0", "*", "*;q=0,gzip"])
async def test_document_and_assets_are_compressed(api: Api, path: str, accepted: str) -> None:
    plain = await api.client.get(path, headers={"accept-encoding": "identity"})
    headers = {"accept-encoding": accepted}
    response = await api.client.get(path, headers=headers)
    assert (response.headers["content-encoding"], response.headers["vary"]) == ("gzip", "accept-encoding")
    assert response.content == plain.content  # the client decompresses it
    assert int(response.headers["content-length"]) < len(plain.content) / 3
    assert response.headers["etag"] != plain.headers["etag"]
    again = await api.client.get(path, headers={**headers, "if-none-match": response.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("accepted", ["", "identity", "br", "gzip;q=0", "gzip;q=0.000, *", "xgzip", "gzip;q=2"])
async def test_other_encodings_get_the_plain_document(api: Api, accepted: str) -> None:
    response = await api.client.get("/openapi.json", headers={"accept-encoding": accepted})
    assert "content-encoding" not in response.headers
    assert response.headers["vary"] == "accept-encoding"


@pytest.mark.parametrize(
    "path",
    [
        *[f"/docs/assets/{name}" for name in ("redoc.standalone.js", "__init__.py", "..%2f__init__.py", "%2e%2e", "x")],
        "/problems/unknown",
    ],
)
async def test_unknown_public_page_returns_404(api: Api, path: str) -> None:
    check_problem(await api.client.get(path), 404, "not-found")


@pytest.mark.parametrize("path", ["/livez", "/livez/"])
async def test_livez_returns_200_without_storage(api: Api, path: str) -> None:
    async with api.over(FailingStorage(RuntimeError)):
        response = await api.client.get(path)
    assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("path", ["/readyz", "/readyz/"])
async def test_readyz_reports_each_component(api: Api, path: str) -> None:
    response = await api.client.get(path)
    database = {"ready": True, "detail": "reachable"}
    assert (response.status_code, response.json()) == (200, {"status": "ready", "components": {"database": database}})
    api.components["migrations"] = ComponentStatus(ready=False, detail="2 to go")
    response = await api.client.get(path)
    assert response.status_code == 503
    assert response.headers["cache-control"] == "no-store"
    migrations = {"ready": False, "detail": "2 to go"}
    expected = {"status": "unavailable", "components": {"database": database, "migrations": migrations}}
    assert response.json() == expected
