"""Tests for invalid arguments of `hexapost keys`."""

import pytest

from domain.api_keys import Scope
from tests.cli.conftest import CREATE, Keys

UNKNOWN_ID = "0193e0b8-7f6a-7c3d-9b1e-2f4a6c8d0e1f"
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a sample


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--name", "K"], "required: --scope"),
        (["create", "--scope", "users:read"], "required: --name"),
        (["create", "--name", "K", "--scope", "users:all"], f"there are {', '.join(Scope)}"),
        (["create", "--name", "K", "--scope", "users:read,posts:read"], "there is no such scope"),
        (["create", "--name", " ", "--scope", "users:read"], "--name: It must hold a visible character"),
        (["create", "--name", "x" * 101, "--scope", "users:read"], "--name: It must be at most 100"),
        ([*CREATE, "--expires-in", "soon"], "--expires-in: must be a whole number and its unit"),
        ([*CREATE, "--expires-in", "-1d"], "--expires-in"),
        ([*CREATE, "--expires-in", "1.5d"], "--expires-in: must be a whole number and its unit"),
        ([*CREATE, "--expires-in", "٣d"], "--expires-in: must be a whole number and its unit"),
        ([*CREATE, "--expires-in", "9999999999w"], "--expires-in: must be at most a hundred years"),
        ([*CREATE, "--expires-in", "36526d"], "--expires-in: must be at most a hundred years"),
        ([*CREATE, "--expires-in", "0s"], "--expires-in: It must be in the future"),
        ([*CREATE, "--expires-at", "2020-01-31T12:00:00Z"], "--expires-at: It must be in the future"),
        ([*CREATE, "--expires-at", "2999-01-31"], "--expires-at: must be a time as in RFC 3339"),
        ([*CREATE, "--expires-at", "2999-01-31T12:00:00"], "--expires-at: must be a time as in RFC 3339"),
        ([*CREATE, "--expires-at", "2999-02-30T12:00:00Z"], "--expires-at: must be a time as in RFC 3339"),
        ([*CREATE, "--expires-at", "9999-12-31T23:59:59-01:00"], "--expires-at: must be a time as in RFC 3339"),
        ([*CREATE, "--expires-in", "1d", "--expires-at", "2999-01-31T12:00:00Z"], "not allowed with"),
        ([*CREATE, "--user-id", "ada"], "--user-id: must be an id"),
        ([*CREATE, "--user-id", UNKNOWN_ID], "--user-id: There is no user with this id."),
        ([*CREATE, "--scope", "keys:admin", "--user-id", UNKNOWN_ID], "--scope: A key that is bound to a user can"),
        (["revoke"], "required: ID"),
        (["revoke", "x"], "must be an id"),
        (["revoke", UNKNOWN_ID[:-1]], "must be an id"),
        (["revoke", UNKNOWN_ID], "There is no API key with this id."),
        (["rotate", UNKNOWN_ID], "There is no API key with this id."),
        (["rotate", UNKNOWN_ID, "--overlap", "1"], "--overlap: must be a whole number and its unit"),
        (["rotate", f"hexa_{'0' * 32}_{SECRET}"], "must be an id"),
        ([], "required: ACTION"),
        (["make"], "invalid choice"),
    ],
)
def test_keys_returns_2_and_names_the_invalid_argument(keys: Keys, arguments: list[str], message: str) -> None:
    outcome = keys(*arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    (line,) = [line for line in outcome.stderr.splitlines() if not line.startswith("hexapost: using the ")]
    assert message in line
    assert line.startswith("hexapost")
    assert SECRET not in line
    assert keys.stored() == []
