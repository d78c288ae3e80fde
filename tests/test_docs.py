"""Tests for the settings, examples, commands, paths and links in README.md and docs."""

import ast
import re
import shlex
import shutil
from pathlib import Path

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from adapters.cli.main import app
from adapters.clock import new_id, utc_now
from adapters.memory.unit_of_work import InMemoryStorage
from adapters.settings import Settings, variable
from application.authorization import SYSTEM_PRINCIPAL
from application.users import UserService
from domain.users import EmailAlreadyRegisteredError
from tests.drills.registry import DRILLS
from tests.support import generated_docs

ROOT = Path(__file__).parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
}
ALL_PAGES = "\n".join(PAGES.values())
COMMANDS = sorted(set(re.findall(r"^(?:[A-Z_]+=\S+ )*hexapost (.+)$", ALL_PAGES, re.MULTILINE)))

ERRORS = {"EmbeddedPostgresError", "MigrationError", "print_error"}
ERROR_EVENTS = {"error", "critical", "exception", "_logged"}


def error_messages() -> set[tuple[str, str]]:
    """Return the longest constant part of each message of a command, and each event of an error in the log.

    The checks of `make check` in migrations/lint are for developers and name the line to correct.
    """
    found: set[tuple[str, str]] = set()
    for path in sorted([*ROOT.glob("adapters/**/*.py"), *ROOT.glob("migrations/[or]*/*.py")]):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args and _name(node.func) in ERRORS | ERROR_EVENTS:
                parts = [
                    part.value.strip(" .:;,")
                    for part in ast.walk(node.args[0])
                    if isinstance(part, ast.Constant) and isinstance(part.value, str)
                ]
                longest = max(parts, key=len, default="")
                if " " in longest:  # not only a separator between values
                    found.add((str(path.relative_to(ROOT)), longest))
    return found


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def test_configuration_lists_each_setting_once() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \|(?: [^|]+ \|){3}$", PAGES["docs/configuration.md"], re.MULTILINE)
    assert sorted(rows) == sorted(map(variable, Settings.model_fields))


async def test_architecture_example_passes() -> None:
    (example,) = re.findall(r"```python\n(.+?)```", PAGES["docs/architecture.md"], re.DOTALL)
    assert example.count("\n") <= 5
    names = {
        "EmailAlreadyRegisteredError": EmailAlreadyRegisteredError,
        "InMemoryStorage": InMemoryStorage,
        "SYSTEM_PRINCIPAL": SYSTEM_PRINCIPAL,
        "UserService": UserService,
        "new_id": new_id,
        "pytest": pytest,
        "utc_now": utc_now,
    }
    exec(example, names)  # noqa: S102 - our own documentation
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    await test()  # type: ignore[operator]


@pytest.mark.parametrize("command", COMMANDS)
def test_documented_command_has_valid_arguments(command: str) -> None:
    arguments = shlex.split(command.partition(" > ")[0], comments=True)
    parser = get_command(app)
    while isinstance(parser, TyperGroup):
        parser = parser.commands[arguments.pop(0)]
    parser.make_context("hexapost", arguments)  # raises TyperException for invalid arguments


def test_docs_list_each_drill() -> None:
    assert re.findall(r"^\| `([a-z-]+)` \|", PAGES["docs/resilience.md"], re.MULTILINE) == list(DRILLS)
    assert re.findall(r"`make drill NAME=([a-z-]+)`", PAGES["README.md"]) == list(DRILLS)


def test_docs_name_existing_targets_settings_and_paths() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", ALL_PAGES, re.MULTILINE)) <= targets
    settings = set(re.findall(r"HEXAPOST_\w+[A-Z]", ALL_PAGES)) - {"HEXAPOST_POOLSIZE"}  # an example of an error
    assert {name.removesuffix("_FILE") for name in settings} <= {variable(name) for name in Settings.model_fields}
    paths = set(re.findall(r"`((?:domain|application|adapters|deploy|migrations|tests)/[\w./]*)`", ALL_PAGES))
    assert {path for path in paths if not (ROOT / path).exists() and "comments" not in path} == set()


@pytest.mark.parametrize("page", PAGES)
def test_page_has_only_valid_links(page: str) -> None:
    for target, anchor in re.findall(r"\]\(([\w./-]*)(?:#([\w-]+))?\)", PAGES[page]):
        path = (ROOT / page).parent / target if target else ROOT / page
        assert path.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text("utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_readme_links_to_each_page() -> None:
    pages = set(PAGES) - {"README.md"}
    assert {page for page in pages if f"({page})" not in PAGES["README.md"]} == set()


def test_generated_docs_equal_their_sources() -> None:
    assert generated_docs.main(["--check"]) == 0


def test_generated_docs_check_fails_for_an_edited_part(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "docs", tmp_path, dirs_exist_ok=True)
    monkeypatch.setattr(generated_docs, "DOCS", tmp_path)
    page = tmp_path / "configuration.md"
    page.write_text(page.read_text("utf-8").replace("`8000`", "`8001`"), encoding="utf-8")
    assert generated_docs.main(["--check"]) == 1
    assert generated_docs.main([]) == 0
    assert generated_docs.main(["--check"]) == 0
    with pytest.raises(ValueError, match="no markers"):
        generated_docs.replace_part("# Page", "settings", [])


@pytest.mark.parametrize(("path", "message"), sorted(error_messages()))
def test_troubleshooting_lists_each_error(path: str, message: str) -> None:
    assert message in PAGES["docs/troubleshooting.md"], f"add a row for this error of {path}"


def test_readme_text_has_at_most_8_kib() -> None:
    text = re.sub(r"^\[[\w-]+\]: .*\n", "", PAGES["README.md"], flags=re.MULTILINE)
    assert len(text.encode()) <= 8192


@pytest.mark.parametrize("page", PAGES)
def test_page_defines_each_reference_link(page: str) -> None:
    used = set(re.findall(r"\]\[([\w-]+)\]", PAGES[page]))
    assert used == set(re.findall(r"^\[([\w-]+)\]: https://", PAGES[page], re.MULTILINE))
