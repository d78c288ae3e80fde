"""The directions of imports: kept as they are, and broken by every violation that is planted."""

import ast
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGES = ("domain", "application", "adapters", "migrations")
PLANTED = [
    ("domain/users.py", "application.ports"),
    ("domain/posts.py", "adapters.postgres.database"),
    ("domain/text.py", "sqlalchemy"),
    ("application/users.py", "adapters.memory.storage"),
    ("application/ports.py", "fastapi"),
    ("adapters/http/fields.py", "adapters.postgres.database"),
    ("adapters/http/routes.py", "sqlalchemy"),
    ("adapters/http/problems.py", "dependency_injector"),
    ("adapters/memory/users.py", "adapters.http.problems"),
    ("adapters/postgres/users.py", "adapters.memory.users"),
    ("adapters/postgres/errors.py", "adapters.container"),
    ("adapters/postgres/posts.py", "starlette"),
    ("adapters/embedded/launcher.py", "adapters.cli.main"),
    ("adapters/telemetry/logs.py", "adapters.embedded"),
    ("adapters/settings.py", "adapters.postgres.database"),
    ("adapters/cli/main.py", "dependency_injector"),
    ("adapters/lifespan.py", "adapters.container"),
    ("adapters/postgres/storage.py", "adapters.lifespan"),
    ("migrations/patience.py", "adapters.system"),
]


def _lint_imports(directory: Path) -> tuple[int, str]:
    command = Path(sysconfig.get_path("scripts"), "lint-imports")
    done = subprocess.run(  # noqa: S603 - a tool of ours on a tree of ours
        [command, "--no-cache"], cwd=directory, capture_output=True, text=True, check=False, timeout=120
    )
    return done.returncode, done.stdout + done.stderr


def test_the_contracts_are_kept(pytestconfig: pytest.Config) -> None:
    code, said = _lint_imports(pytestconfig.rootpath)
    assert code == 0, said
    assert ", 0 broken" in said


@pytest.fixture(scope="module")
def violated(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what is said of a copy of the house with every violation in it."""
    copy = tmp_path_factory.mktemp("house")
    shutil.copy(pytestconfig.rootpath / "pyproject.toml", copy)
    for package in PACKAGES:
        shutil.copytree(pytestconfig.rootpath / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    for place, imported in PLANTED:
        with (copy / place).open("a") as file:
            file.write(f"\nimport {imported}\n")
    code, said = _lint_imports(copy)
    assert code == 1, said
    return said


@pytest.mark.parametrize(("place", "imported"), PLANTED)
def test_a_planted_violation_is_found(pytestconfig: pytest.Config, violated: str, place: str, imported: str) -> None:
    importer = place.removesuffix(".py").replace("/", ".")
    line = len((pytestconfig.rootpath / place).read_text().splitlines()) + 2
    assert f"{importer} -> {imported} (l.{line})" in violated


def test_every_contract_can_break(violated: str) -> None:
    assert " 0 kept" in violated, violated


def _imported(package: Path) -> Iterator[tuple[Path, str]]:
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                yield from ((file, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"a relative import in {file}"
                yield file, node.module or ""


@pytest.mark.parametrize(("package", "others"), [("domain", {"domain"}), ("application", {"application", "domain"})])
def test_the_inner_rings_import_the_standard_library_alone(
    pytestconfig: pytest.Config, package: str, others: set[str]
) -> None:
    found = list(_imported(pytestconfig.rootpath / package))
    assert len(found) > 10
    allowed = sys.stdlib_module_names | others
    assert [(file.name, name) for file, name in found if name.split(".")[0] not in allowed] == []


def test_nothing_is_made_when_a_module_is_imported(pytestconfig: pytest.Config) -> None:
    """Importing every module starts no thread, opens no socket and makes no engine or application."""
    program = """
import importlib, pkgutil, socket, sys, threading
import domain, application, adapters
import sqlalchemy.ext.asyncio as sa, fastapi
def no(*_, **__): raise AssertionError("made at import")
socket.socket.connect = sa.create_async_engine = fastapi.FastAPI.__init__ = threading.Thread.start = no
for package in (domain, application, adapters):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
"""
    done = subprocess.run(  # noqa: S603 - a program of ours
        [sys.executable, "-c", program],
        cwd=pytestconfig.rootpath,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
