"""Tests for settings, examples and paths in the README."""

import re
from pathlib import Path

import pytest

from adapters.clock import new_id, utc_now
from adapters.memory.unit_of_work import InMemoryStorage
from adapters.settings import Settings, variable
from application.authorization import SYSTEM_PRINCIPAL
from application.users import UserService
from domain.users import EmailAlreadyRegisteredError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_readme_table_lists_each_setting_with_default() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| (.+) \|$", README, re.MULTILINE)
    assert rows == [
        (variable(name), "none" if field.default is None else f"`{field.default}`".replace("True", "true"), description)
        for name, field in Settings.model_fields.items()
        for description in [field.description]
    ]


async def test_readme_unit_test_example_passes() -> None:
    (example,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
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
    exec(example, names)  # noqa: S102 - our own README
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    await test()  # type: ignore[operator]


def test_readme_names_existing_targets_and_paths() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE)) <= targets
    paths = set(re.findall(r"`((?:domain|application|adapters|deploy|migrations|tests)/[\w./]*)`", README))
    assert {path for path in paths if not (ROOT / path).exists() and "comments" not in path} == set()
