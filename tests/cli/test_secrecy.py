"""Tests that commands print neither secrets nor messages of the database."""

import pytest

from tests.cli.conftest import Hexapost
from tests.cli.support import rendered
from tests.observability.canaries import CANARY, SECRETS, leaks
from tests.support.template_databases import Databases, with_driver

COMMANDS = [
    ["check"],
    ["migrate"],
    ["purge"],
    ["keys", "create", "--name", CANARY, "--scope", "users:read"],
    ["serve"],
]
WRONG = {
    "role": {"username": "nobody"},
    "database": {"database": "nowhere"},
    "port": {"host": "127.0.0.1", "port": 1, "query": {}},
}
SETTINGS = {
    "DATABASE_URL": f"mysql://{CANARY}:{CANARY}@{CANARY}",
    "HEXAPOST_API_KEY_PEPPERS": f"1:{CANARY}",
    "HEXAPOST_CURSOR_SECRET": CANARY,
    "HEXAPOST_RATE_LIMIT_STORE": f"redis://{CANARY}:{CANARY}@{CANARY}:x",
    "HEXAPOST_PORT": CANARY,
    "HEXAPOST_NONSENSE": CANARY,
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_command_returns_1_without_secrets_when_connection_fails(
    hexapost: Hexapost, databases: Databases, driver: str, command: list[str], wrong: str
) -> None:
    url = with_driver(databases.url, driver).set(password=f"{CANARY}-password", **WRONG[wrong])  # type: ignore[arg-type]
    done = hexapost(*command, DATABASE_URL=rendered(url), HEXAPOST_LOG_LEVEL="debug", **SECRETS)
    assert done.status == 1
    assert (
        "unreachable" in done.output
        or "cannot connect" in done.output
        or "role" in done.output
        or "SQLSTATE" in done.output
    )
    assert "Traceback" not in done.output
    assert leaks(done.output) == []


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("command", [*COMMANDS, ["keys", "list"]], ids=" ".join)
def test_command_returns_2_without_value_of_invalid_setting(hexapost: Hexapost, command: list[str], name: str) -> None:
    done = hexapost(*command, **{name: SETTINGS[name]})
    assert done.status == 2
    assert f"{name}: " in done.stderr
    assert leaks(done.output) == []


def test_revoke_returns_2_without_repeating_an_invalid_id(hexapost: Hexapost) -> None:
    done = hexapost("keys", "revoke", CANARY)
    assert done.status == 2
    assert leaks(done.output) == []
