"""Tests for the import contracts, which `make check` applies to the project."""

import ast
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("domain", "application", "adapters", "migrations")
HTTP_CLIENTS = ("httpx.", "requests.", "aiohttp.", "urllib3.", "httpcore.", "http.client.", "urllib.request.")
PLANTED = [
    ("domain/users.py", "application.ports"),
    ("domain/posts.py", "adapters.postgres.pool"),
    ("domain/text_rules.py", "sqlalchemy"),
    ("domain/api_keys.py", "idna"),
    ("application/users.py", "adapters.memory.unit_of_work"),
    ("application/ports.py", "fastapi"),
    ("adapters/http/field_types.py", "adapters.postgres.pool"),
    ("adapters/http/routing.py", "sqlalchemy"),
    ("adapters/http/problems/catalog.py", "dependency_injector"),
    ("adapters/memory/users.py", "adapters.http.problems.catalog"),
    ("adapters/postgres/repositories/users.py", "adapters.memory.users"),
    ("adapters/postgres/sqlstate.py", "adapters.container"),
    ("adapters/postgres/repositories/posts.py", "starlette"),
    ("adapters/embedded/embedded_postgres.py", "adapters.cli.main"),
    ("adapters/observability/logging.py", "adapters.embedded"),
    ("adapters/settings.py", "adapters.postgres.pool"),
    ("adapters/cli/main.py", "dependency_injector"),
    ("adapters/lifespan.py", "adapters.container"),
    ("adapters/postgres/unit_of_work.py", "adapters.lifespan"),
    ("adapters/asgi.py", "adapters.cli.console"),
    ("adapters/server/uvicorn_server.py", "adapters.testing.fixtures"),
    ("migrations/runner/lock_retry.py", "adapters.clock"),
]


@pytest.fixture(scope="module")
def report(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The report of lint-imports on a copy of the project with every violation."""
    copy = tmp_path_factory.mktemp("project")
    shutil.copy(pytestconfig.rootpath / "pyproject.toml", copy)
    for package in PACKAGES:
        shutil.copytree(pytestconfig.rootpath / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for path, imported in PLANTED:
        with (copy / path).open("a") as file:
            file.write(f"\nimport {imported}\n")
    done = subprocess.run(  # noqa: S603 - a tool of the project
        [Path(sysconfig.get_path("scripts"), "lint-imports"), "--no-cache"],
        cwd=copy,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize(("path", "imported"), PLANTED)
def test_planted_import_is_reported(pytestconfig: pytest.Config, report: str, path: str, imported: str) -> None:
    importer = path.removesuffix(".py").replace("/", ".")
    line = len((pytestconfig.rootpath / path).read_text().splitlines()) + 2
    assert f"{importer} -> {imported} (l.{line})" in report


def test_planted_imports_break_every_contract(report: str) -> None:
    assert " 0 kept" in report, report


def _imported(package: Path) -> Iterator[tuple[Path, str]]:
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"a relative import in {file}"
                yield from ((file, f"{node.module}.{alias.name}") for alias in node.names)


@pytest.mark.parametrize(("package", "internal"), [("domain", {"domain"}), ("application", {"application", "domain"})])
def test_domain_and_application_import_only_stdlib_and_idna(
    pytestconfig: pytest.Config, package: str, internal: set[str]
) -> None:
    found = list(_imported(pytestconfig.rootpath / package))
    assert len(found) > 10
    allowed = sys.stdlib_module_names | internal
    libraries = [(file.name, name) for file, name in found if name.split(".")[0] not in allowed]
    assert libraries == ([("email.py", "idna")] if package == "domain" else [])


def test_service_imports_no_http_client(pytestconfig: pytest.Config) -> None:
    packages = (pytestconfig.rootpath / package for package in ("domain", "application", "adapters"))
    found = [(file, name) for package in packages for file, name in _imported(package)]
    imported = {name for file, name in found if file.parent.name != "testing"}
    assert {"fastapi.FastAPI", "urllib.parse.quote"} <= imported
    assert [name for name in imported if f"{name}.".startswith(HTTP_CLIENTS)] == []


def test_imports_create_no_threads_sockets_or_engines(pytestconfig: pytest.Config) -> None:
    program = """
import importlib, pkgutil, socket, sys, threading
import domain, application, adapters
import sqlalchemy.ext.asyncio as sa, fastapi
def fail(*_, **__): raise AssertionError("created at import")
socket.socket.connect = sa.create_async_engine = fastapi.FastAPI.__init__ = threading.Thread.start = fail
for package in (domain, application, adapters):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
    done = subprocess.run(  # noqa: S603 - our own script
        [sys.executable, "-c", program],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
