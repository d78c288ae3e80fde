"""Tests for a database role that may not read the schema version."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest

from tests.cli.conftest import Hexapost
from tests.cli.support import Served, rendered, serving, wait_until
from tests.support.database_roles import Role, temporary_role
from tests.support.template_databases import Databases, with_driver

DETAIL = "cannot read schema version (SQLSTATE 42501)"
SECRETS = ("Traceback", "permission", "alembic_version", "SELECT")


@pytest.fixture(scope="module")
def role(databases: Databases) -> Iterator[Role]:
    """A role without SELECT on alembic_version."""
    url = databases.clone()
    with temporary_role(url) as role:
        yield role
    databases.drop(url)


def database_detail(served: Served) -> str:
    try:
        response = served.get("/readyz").read()
    except HTTPError as unavailable:
        response = unavailable.read()
    return str(json.loads(response)["components"]["database"]["detail"])


@pytest.mark.parametrize("command", ["check", "serve --port 0", "keys list"])
def test_command_returns_1_and_sqlstate_without_privilege(
    hexapost: Hexapost, role: Role, driver: str, command: str
) -> None:
    outcome = hexapost(*command.split(), DATABASE_URL=rendered(with_driver(role.url, driver)))
    assert outcome.status == 1
    if command == "check":
        assert f"database: {DETAIL} (NOT READY)" in outcome.stdout
    else:
        assert DETAIL in outcome.stderr
    assert not [secret for secret in SECRETS if secret in outcome.output]


def test_serve_is_not_ready_while_privilege_is_missing(tmp_path: Path, role: Role) -> None:
    role.grant("alembic_version")
    with serving(tmp_path, DATABASE_URL=rendered(with_driver(role.url, "psycopg"))) as served:
        assert json.load(served.get("/readyz"))["status"] == "ready"
        role.revoke("alembic_version")
        wait_until(lambda: database_detail(served) == DETAIL)
        role.grant("alembic_version")
        wait_until(lambda: database_detail(served) == "reachable")
    role.revoke("alembic_version")
    assert not [secret for secret in SECRETS if secret in served.output]
