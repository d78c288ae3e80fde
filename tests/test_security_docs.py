"""Tests for docs/security.md and the claims in it."""

import ast
import re
from pathlib import Path

import pytest

from tests.http.support import ADA, serving

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/security.md").read_text("utf-8")
RISKS = [
    "Broken object level authorization",
    "Broken authentication",
    "Broken object property level authorization",
    "Unrestricted resource consumption",
    "Broken function level authorization",
    "Unrestricted access to sensitive business flows",
    "Server side request forgery",
    "Security misconfiguration",
    "Improper inventory management",
    "Unsafe consumption of APIs",
]
ROWS = re.findall(r"^\| (API.+?) \| (.+?) \| (.+) \|$", PAGE, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))


def test_security_docs_name_a_test_for_each_risk() -> None:
    assert [risk for risk, _, _ in ROWS] == [f"API{number} {name}" for number, name in enumerate(RISKS, start=1)]
    for _, measure, tests in ROWS:
        assert measure.endswith(".")
        assert re.fullmatch(r"`[\w/]+\.py::test_\w+`(, `[\w/]+\.py::test_\w+`)*", tests)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_security_docs_name_existing_tests(path: str, name: str) -> None:
    module = ast.parse((ROOT / path).read_text("utf-8"))
    functions = [node.name for node in module.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert functions.count(name) == 1


async def test_cross_origin_requests_get_no_cors_headers() -> None:
    async with serving() as api:
        headers = {"Origin": "https://elsewhere.example"}
        for response in [
            await api.client.get("/api/v1/users", headers=headers),
            await api.client.post("/api/v1/users", json=ADA, headers=headers),
            await api.client.options("/api/v1/users", headers={**headers, "Access-Control-Request-Method": "POST"}),
        ]:
            assert not [name for name in response.headers if name.startswith("access-control-")]
        assert response.status_code == 405
