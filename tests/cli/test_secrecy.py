"""Tests that commands print neither secrets nor messages of the database."""

import re
from collections.abc import Iterator

import pytest

from adapters.testing.template_databases import Databases, with_driver
from tests.cli.conftest import Hexapost
from tests.cli.support import rendered
from tests.observability.canaries import CANARY, SECRETS, leaks
from tests.support.database_roles import Role, temporary_role

COMMANDS = ["check", "migrate", "purge", f"keys create --name {CANARY} --scope users:read", "serve"]
WRONG = {
    "SQLSTATE 28000": {"username": "nobody"},
    "SQLSTATE 3D000": {"database": "nowhere"},
    "127.0.0.1:1: connection refused": {"host": "127.0.0.1", "port": 1, "query": {}},
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("command", COMMANDS)
def test_command_returns_1_without_secrets_when_connection_fails(
    hexapost: Hexapost, databases: Databases, driver: str, command: str, wrong: str
) -> None:
    url = with_driver(databases.url, driver).set(password=f"{CANARY}-password", **WRONG[wrong])  # type: ignore[arg-type]
    done = hexapost(*command.split(), DATABASE_URL=rendered(url), HEXAPOST_LOG_LEVEL="debug", **SECRETS)
    assert done.status == 1
    assert re.search(f"cannot connect to PostgreSQL at .*{wrong}", done.output)
    assert "Traceback" not in done.output
    assert leaks(done.output) == []


@pytest.fixture(scope="module")
def role(databases: Databases) -> Iterator[Role]:
    """A role that lacks one privilege."""
    url = databases.clone()
    with temporary_role(url) as role:
        role.grant_service()
        role.revoke("posts", "UPDATE")
        yield role
    databases.drop(url)


@pytest.mark.parametrize("command", ["check", "serve --port 0", "keys list"])
def test_command_returns_1_and_names_missing_privilege(
    hexapost: Hexapost, role: Role, driver: str, command: str
) -> None:
    outcome = hexapost(*command.split(), DATABASE_URL=rendered(with_driver(role.url, driver)))
    assert outcome.status == 1
    detail = "missing privileges: UPDATE on posts"
    if command == "check":
        assert f"database: {detail} (NOT READY)" in outcome.stdout
    else:
        assert detail in outcome.stderr
    assert not [secret for secret in ("Traceback", "permission denied") if secret in outcome.output]
