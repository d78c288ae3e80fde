"""What the README says, held against the code."""

import re
from pathlib import Path

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.settings import Settings, variable
from adapters.system import new_id, utc_now
from application.access import OPERATOR
from application.users import UserService
from domain.users import EmailAlreadyRegisteredError

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def test_every_setting_stands_in_the_table_with_its_default_and_meaning() -> None:
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+?) \| (.+) \|$", README, re.MULTILINE)
    assert rows == [
        (variable(name), "none" if field.default is None else f"`{field.default}`".replace("True", "true"), description)
        for name, field in Settings.model_fields.items()
        for description in [field.description]
    ]


async def test_the_example_of_a_unit_test_runs() -> None:
    (example,) = re.findall(r"```python\n(.+?)```", README, re.DOTALL)
    assert example.count("\n") <= 5
    names = {
        "EmailAlreadyRegisteredError": EmailAlreadyRegisteredError,
        "InMemoryStorage": InMemoryStorage,
        "OPERATOR": OPERATOR,
        "UserService": UserService,
        "new_id": new_id,
        "pytest": pytest,
        "utc_now": utc_now,
    }
    exec(example, names)  # noqa: S102 - our own README
    (test,) = (value for name, value in names.items() if name.startswith("test_"))
    await test()  # type: ignore[operator]


def test_every_target_and_path_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE)) <= targets
    paths = set(re.findall(r"`((?:domain|application|adapters|deploy|migrations|tests)/[\w./]*)`", README))
    assert {path for path in paths if not (ROOT / path).exists() and "comments" not in path} == set()
