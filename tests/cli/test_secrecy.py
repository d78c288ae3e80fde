"""What commands say when they cannot be carried out: none of it is a secret, nor what the database said."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.cli.conftest import Hexapost
from tests.cli.support import rendered, serving
from tests.support.databases import with_driver
from tests.telemetry.canaries import CANARY, SECRETS, leaks

COMMANDS = [
    ["check"],
    ["migrate"],
    ["keys", "list"],
    ["keys", "create", "--name", CANARY, "--scope", "users:read"],
    ["purge"],
]
MISUSED = ["keys", "revoke", CANARY]
WRONG = {
    "role": {"username": "nobody"},
    "database": {"database": "nowhere"},
    "port": {"host": "127.0.0.1", "port": 1, "query": {}},
}
SETTINGS = {
    "DATABASE_URL": f"mysql://{CANARY}:{CANARY}@{CANARY}",
    "HEXAPOST_KEY_PEPPERS": f"1:{CANARY}",
    "HEXAPOST_CURSOR_SECRET": CANARY,
    "HEXAPOST_RATE_LIMIT_STORE": f"redis://{CANARY}:{CANARY}@{CANARY}:x",
    "HEXAPOST_PORT": CANARY,
    "HEXAPOST_NONSENSE": CANARY,
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
@pytest.mark.parametrize("words", [*COMMANDS, MISUSED], ids=" ".join)
def test_commands_that_may_not_connect(
    hexapost: Hexapost, scratch: URL, driver: str, words: list[str], wrong: dict[str, object]
) -> None:
    url = with_driver(scratch, driver).set(password=f"{CANARY}-password", **wrong)  # type: ignore[arg-type]
    done = hexapost(*words, DATABASE_URL=rendered(url), **SECRETS)
    assert done.status in {1, 2}
    assert done.stdout + done.stderr
    assert leaks(done.stdout + done.stderr) == []


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_service_that_may_not_connect(tmp_path: Path, scratch: URL, driver: str, wrong: dict[str, object]) -> None:
    url = with_driver(scratch, driver).set(password=f"{CANARY}-password", **wrong)  # type: ignore[arg-type]
    with serving(tmp_path, DATABASE_URL=rendered(url), HEXAPOST_LOG_LEVEL="debug", **SECRETS) as served:
        assert served.process.wait(60) == 1
    assert "Traceback" not in served.output
    assert leaks(served.output) == []


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("words", [*COMMANDS, ["serve"]], ids=" ".join)
def test_commands_with_a_setting_that_is_wrong(hexapost: Hexapost, words: list[str], name: str) -> None:
    done = hexapost(*words, **{name: SETTINGS[name]})
    assert done.status == 2
    assert f"{name}: " in done.stderr
    assert leaks(done.stdout + done.stderr) == []
