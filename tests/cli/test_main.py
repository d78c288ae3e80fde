"""Tests for the arguments of the `hexapost` command and for its errors."""

import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from adapters.settings import Settings, load_settings, variable
from tests.cli.conftest import Hexapost
from tests.cli.support import COMMAND, PATIENCE, environment

SECRET = "hexa_0123456789abcdef"  # noqa: S105 - a sample
SLOW_LIBRARIES = {
    *("alembic", "asyncio", "asyncpg", "dependency_injector", "fastapi", "importlib.metadata", "pydantic", "rich"),
    *("sqlalchemy", "uvicorn"),
}
COMMANDS = ["audit", "check", "keys", "migrate", "openapi", "purge", "serve", "settings", "users", "with-database"]


def _run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a command that must succeed."""
    done = subprocess.run(  # noqa: S603 - our own command
        command, env=environment(**variables), capture_output=True, text=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    return done


def test_version_option_prints_version(hexapost: Hexapost) -> None:
    outcome = hexapost("--version")
    assert (outcome.status, outcome.stdout) == (0, f"hexapost {version('hexapost')}\n")


def test_help_lists_public_commands(hexapost: Hexapost) -> None:
    outcome = hexapost("--help")
    listed = [line.split()[0] for line in outcome.stdout.partition("Commands:\n")[2].splitlines()]
    assert (outcome.status, sorted(listed)) == (0, COMMANDS)
    assert "--install-completion" in outcome.stdout


def test_settings_prints_each_default_as_dotenv(
    hexapost: Hexapost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assignments = re.findall(r"^#([A-Z_]+)=(.*)$", hexapost("settings").stdout, re.MULTILINE)
    assert sorted(name for name, _ in assignments) == sorted(map(variable, Settings.model_fields))
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in assignments if value))
    assert load_settings().model_dump() == Settings().model_dump()


@pytest.mark.parametrize(
    ("name", "default", "bounds"),
    [
        ("HEXAPOST_PORT", "`8000`", "0 to 65535"),
        ("HEXAPOST_BODY_TIMEOUT_SECONDS", "`10.0`", "above 0, at most 600"),
        ("HEXAPOST_LOG_FORMAT", "`auto`", "`auto`, `json`, `console`"),
        ("HEXAPOST_CURSOR_SECRET", "-", "at least 32 bytes"),
        ("HEXAPOST_DB_PREPARED_STATEMENTS", "`true`", "-"),
    ],
)
def test_settings_markdown_has_defaults_and_bounds(hexapost: Hexapost, name: str, default: str, bounds: str) -> None:
    assert f"| `{name}` | {default} | {bounds} | " in hexapost("settings", "--markdown").stdout


def test_help_loads_no_slow_library() -> None:
    script = f"""
import sys
from adapters.cli.main import main
assert main(["--help"]) == 0
assert not {SLOW_LIBRARIES} & sys.modules.keys(), {SLOW_LIBRARIES} & sys.modules.keys()
"""
    _run(sys.executable, "-c", script)


def test_migrate_loads_no_web_framework() -> None:
    script = """
import sys
from adapters.cli.main import main
assert main(["migrate"]) == 1  # the database is unreachable
assert "alembic" in sys.modules
loaded = {"dependency_injector", "fastapi", "starlette", "uvicorn"} & sys.modules.keys()
assert not loaded, loaded
"""
    _run(sys.executable, "-c", script, DATABASE_URL="postgresql+asyncpg://x@/x?host=/nowhere")


def test_shell_completion_completes_commands() -> None:
    done = _run(*COMMAND, _HEXAPOST_COMPLETE="complete_bash", COMP_WORDS="hexapost mi", COMP_CWORD="1")
    assert (done.stdout.split(), done.stderr) == (["migrate"], "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing command."),
        ([SECRET], "No such command '…'."),
        (["check", SECRET], "Got unexpected extra argument"),
        (["check", SECRET, "two\nlines"], "Got unexpected extra argument"),
        (["serve", "--prot", SECRET], "No such option: --prot (Possible options: --host, --port)"),
        (["serve", "--port"], "Option '--port' requires an argument."),
        (["serve", f"--exit-with-parent={SECRET}"], "Invalid value for '--exit-with-parent': "),
        (["migrate", "--phase", SECRET], "Invalid value for '--phase': '…' is not one of 'expand', 'contract'."),
        (["openapi", "--check", SECRET, "--write", SECRET], "Invalid value for '--check': not allowed with --write"),
        (["with-database", "--embedded"], "Missing argument 'COMMAND'."),
    ],
)
def test_usage_error_is_one_line_without_values(hexapost: Hexapost, arguments: list[str], message: str) -> None:
    outcome = hexapost(*arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    (line,) = outcome.stderr.splitlines()
    assert line.removeprefix("hexapost: ").startswith(message)
    assert SECRET not in line
    assert message.endswith(": ") or line == f"hexapost: {message}"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("disk full"), "hexapost: disk full\n"),
        (OSError(), "hexapost: cannot connect to PostgreSQL. Check DATABASE_URL and the network.\n"),
    ],
)
def test_environment_error_is_one_line(
    hexapost: Hexapost, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("adapters.cli.database.service_container", fail)
    outcome = hexapost("openapi")
    assert (outcome.status, outcome.stdout, outcome.stderr) == (1, "", line)


def test_programming_error_is_raised(hexapost: Hexapost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.cli.database.service_container", None)
    with pytest.raises(TypeError):
        hexapost("openapi")


def test_keyboard_interrupt_exits_with_130(hexapost: Hexapost, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("adapters.cli.database.service_container", interrupt)
    assert hexapost("openapi").status == 130
