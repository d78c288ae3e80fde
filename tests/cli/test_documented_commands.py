"""Tests that run the commands in README.md and docs/, and compare their output with the documented one.

Commands that start a server or take minutes are examples: tests/test_docs.py checks their targets and options.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from adapters.testing.template_databases import Databases
from tests.cli.support import PATIENCE, ROOT, create_api_key, environment, rendered, serving
from tests.deploy.test_backup import BACKUP, RESTORE

ADDRESS = "http://127.0.0.1:8000"
EXAMPLES = ("make ", "uvicorn ", "granian ", "OTEL_", "docker ", "kubectl ", "sh ", "sudo ")
GENERATED = {"id", "author_id", "user_id", "created_at", "updated_at", "published_at", "instance", "request_id", "key"}
"""The fields whose values differ in each run."""

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="the documented commands need curl")


class Shell:
    """Runs commands in a directory beside a service, and replaces the documented values by those of this run."""

    def __init__(self, directory: Path, url: URL) -> None:
        self._directory = directory
        self._variables = {
            "DATABASE_URL": rendered(url),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }
        self._assignments: list[str] = []
        self.values: dict[str, str] = {}

    def run(self, command: str) -> str:
        """Run a command and return its output. An assignment applies to all later commands."""
        for documented, value in self.values.items():
            command = command.replace(documented, value)
        if re.match(r"\w+=\S*[^ ]*$|\w+=\"", command):
            self._assignments.append(command)
            return ""
        done = subprocess.run(  # noqa: S603 - our own documentation
            ["/bin/sh", "-c", "\n".join([*self._assignments, command])],
            cwd=self._directory,
            env=environment(**self._variables),
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        return done.stdout or done.stderr

    def require(self, documented: str, found: str) -> None:
        """Compare two outputs: headers by their names, and JSON by its values."""
        (expected_head, expected), (head, body) = _split(documented), _split(found)
        assert [re.split(r"[:;]", line)[0] for line in head] == [re.split(r"[:;]", line)[0] for line in expected_head]
        self._require_equal(expected, body)

    def _require_equal(self, expected: Any, found: Any, field: str = "") -> None:
        if isinstance(expected, dict):
            assert list(found) == list(expected)
            for name, value in expected.items():
                self._require_equal(value, found[name], name)
        elif isinstance(expected, list):
            assert len(found) == len(expected)
            for one, other in zip(expected, found, strict=True):
                self._require_equal(one, other, field)
        elif field in GENERATED and expected is not None:
            assert isinstance(found, str)
            self.values[expected] = found
        else:
            assert found == expected


def _split(output: str) -> tuple[list[str], Any]:
    """Return the lines before the JSON document, and the document."""
    start = re.search(r"^\{", output, re.MULTILINE)
    head = output[: start.start()] if start else output
    return head.split("\n\n")[0].replace("\r", "").split("\n"), json.loads(output[start.start() :]) if start else None


def blocks(page: str, language: str) -> list[str]:
    """Return the blocks of a language in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.MULTILINE | re.DOTALL)


def transcript(page: str) -> list[tuple[str, str]]:
    """Return each command of the console blocks with its output."""
    found = []
    for block in blocks(page, "console"):
        for entry in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = re.sub(r"\\\n\s*", "", entry).partition("\n")
            found.append((command, output.strip()))
    return found


@pytest.fixture(scope="module")
def shell(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    directory, url = tmp_path_factory.mktemp("documented"), databases.clone().set(drivername="postgresql+asyncpg")
    key = create_api_key(directory, DATABASE_URL=rendered(url))
    (directory / ".hexapost/admin.key").write_text(key)
    with serving(directory, DATABASE_URL=rendered(url)) as served:
        shell = Shell(directory, url)
        shell.values[ADDRESS] = served.base_url()
        yield shell
    databases.drop(url)


def test_tour_commands_have_the_documented_output(shell: Shell) -> None:
    for page in ("README.md", "docs/getting-started.md"):
        for command, output in transcript(page):
            found = shell.run(command)
            shell.require(output, found.strip())


def test_configuration_command_has_the_documented_output(shell: Shell) -> None:
    ((command, output),) = transcript("docs/configuration.md")
    assert shell.run(command).strip() == output


def test_operation_commands_run_in_the_documented_order(shell: Shell) -> None:
    user = json.loads(
        shell.run(
            f'curl {ADDRESS}/api/v1/users -H "X-API-Key: $(cat .hexapost/admin.key)" '
            "-H 'Content-Type: application/json' -d '{\"email\": \"key@example.org\"}'"
        )
    )
    shell.values["01a1fc26-4eef-770c-915e-83992d9c96cd"] = user["id"]
    for page in ("docs/operations.md", "docs/api-keys.md", "docs/observability.md"):
        for command in [line for block in blocks(page, "sh") for line in block.splitlines()]:
            if command.startswith((*EXAMPLES, " ")):
                continue
            output = shell.run(f"set -e\n{command}\necho status 0")
            assert output.endswith("status 0\n"), (command, output)
            if "shop.key" in command:  # the documented ID is that of this key
                shell.values["01a1fc26-4fd6-705e-bd88-38a4f184dbcd"] = shell.run("cut -d_ -f2 shop.key").strip()


def test_each_documented_command_is_run_or_an_example() -> None:
    tested = {"docs/operations.md", "docs/api-keys.md", "docs/observability.md"}
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        name = str(page.relative_to(ROOT))
        if name not in tested:
            lines = [
                line for block in blocks(name, "sh") if block not in BACKUP + RESTORE for line in block.splitlines()
            ]
            assert [line for line in lines if not line.startswith((*EXAMPLES, " "))] == [], name
        if transcript(name):
            assert name in {"README.md", "docs/getting-started.md", "docs/configuration.md"}
