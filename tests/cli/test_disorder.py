"""A database that answers, but not with its revisions: what commands say of it, and what they do not."""

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.error import HTTPError

import pytest
from sqlalchemy import URL

from tests.cli.conftest import Hexapost
from tests.cli.support import Served, rendered, serving, wait_until
from tests.support.databases import with_driver
from tests.support.roles import Role, a_role

WORD = "in disorder: SQLSTATE 42501"
SECRETS = ("Traceback", "permission", "alembic_version", "SELECT")


@pytest.fixture
def role(scratch: URL) -> Iterator[Role]:
    """A role that may not read the revisions."""
    with a_role(scratch) as made:
        yield made


def detail(served: Served) -> str:
    """Return the word about the database."""
    try:
        answer = served.get("/readyz").read()
    except HTTPError as unavailable:
        answer = unavailable.read()
    return str(json.loads(answer)["components"]["database"]["detail"])


def test_check_says_it_in_a_line(hexapost: Hexapost, role: Role, driver: str) -> None:
    outcome = hexapost("check", DATABASE_URL=rendered(with_driver(role.url, driver)))
    assert outcome.status == 1
    assert f"database: {WORD} (NOT READY)" in outcome.stdout
    assert not [secret for secret in SECRETS if secret in outcome.stdout + outcome.stderr]


@pytest.mark.parametrize("command", ["serve --port 0", "keys list", "purge"])
def test_others_refuse_it_in_a_line(hexapost: Hexapost, role: Role, driver: str, command: str) -> None:
    outcome = hexapost(*command.split(), DATABASE_URL=rendered(with_driver(role.url, driver)))
    assert outcome.status == 1
    assert f"database {WORD}" in outcome.stderr
    assert not [secret for secret in SECRETS if secret in outcome.stdout + outcome.stderr]


def test_a_service_that_may_not_ask_any_more_serves_on_and_is_not_ready(
    tmp_path: Path, role: Role, driver: str
) -> None:
    role.grant("alembic_version")
    with serving(tmp_path, DATABASE_URL=rendered(with_driver(role.url, driver))) as served:
        assert json.load(served.get("/readyz"))["status"] == "ready"
        role.revoke("alembic_version")
        wait_until(lambda: detail(served) == WORD)
        role.grant("alembic_version")
        wait_until(lambda: detail(served) == "reachable")
    assert not [secret for secret in SECRETS if secret in served.output]
