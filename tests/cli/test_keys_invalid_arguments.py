"""Tests for invalid arguments of `hexapost keys`."""

import pytest

from domain.api_keys import Scope
from tests.cli.conftest import CREATE, Keys

UNKNOWN_ID = "0193e0b8-7f6a-7c3d-9b1e-2f4a6c8d0e1f"
SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a sample


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--name", "K"], "Missing option '--scope'"),
        (["create", "--scope", "users:read"], "Missing option '--name'"),
        (["create", "--name", "K", "--scope", "users:all"], f"is not one of {', '.join(map(repr, map(str, Scope)))}."),
        (["create", "--name", "K", "--scope", "users:read,posts:read"], "is not one of"),
        (["create", "--name", " ", "--scope", "users:read"], "'--name': Must not be blank"),
        (["create", "--name", "x" * 101, "--scope", "users:read"], "'--name': Must be at most 100"),
        ([*CREATE, "--expires-in", "soon"], "'--expires-in': must be an integer and a unit"),
        ([*CREATE, "--expires-in", "-1d"], "--expires-in"),
        ([*CREATE, "--expires-in", "1.5d"], "'--expires-in': must be an integer and a unit"),
        ([*CREATE, "--expires-in", "٣d"], "'--expires-in': must be an integer and a unit"),
        ([*CREATE, "--expires-in", "9999999999w"], "'--expires-in': must be at most 100 years"),
        ([*CREATE, "--expires-in", "36526d"], "'--expires-in': must be at most 100 years"),
        ([*CREATE, "--expires-in", "0s"], "'--expires-in': Must be in the future"),
        ([*CREATE, "--expires-at", "2020-01-31T12:00:00Z"], "'--expires-at': Must be in the future"),
        ([*CREATE, "--expires-at", "2999-01-31"], "'--expires-at': must be an RFC 3339 time"),
        ([*CREATE, "--expires-at", "2999-01-31T12:00:00"], "'--expires-at': must be an RFC 3339 time"),
        ([*CREATE, "--expires-at", "2999-02-30T12:00:00Z"], "'--expires-at': must be an RFC 3339 time"),
        ([*CREATE, "--expires-at", "9999-12-31T23:59:59-01:00"], "'--expires-at': must be an RFC 3339 time"),
        (
            [*CREATE, "--expires-in", "1d", "--expires-at", "2999-01-31T12:00:00Z"],
            "'--expires-in': not allowed with --expires-at",
        ),
        ([*CREATE, "--user-id", "ada"], "'--user-id': must be an ID"),
        ([*CREATE, "--user-id", UNKNOWN_ID], "'--user-id': No user has this ID."),
        (
            [*CREATE, "--scope", "keys:admin", "--user-id", UNKNOWN_ID],
            "'--scope': An API key that is bound",
        ),
        (["revoke"], "Missing argument 'ID'"),
        (["revoke", UNKNOWN_ID, SECRET], "unexpected extra argument"),
        ([SECRET], "No such command"),
        (["create", f"--nam={SECRET}"], "No such option: --nam"),
        (["revoke", "x"], "must be an ID"),
        (["revoke", UNKNOWN_ID[:-1]], "must be an ID"),
        (["revoke", UNKNOWN_ID], "No API key has this ID."),
        (["rotate", UNKNOWN_ID], "No API key has this ID."),
        (["rotate", UNKNOWN_ID, "--overlap", "1"], "'--overlap': must be an integer and a unit"),
        (["rotate", f"hexa_{'0' * 32}_{SECRET}"], "must be an ID"),
        ([], "Missing command."),
        (["make"], "No such command"),
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
