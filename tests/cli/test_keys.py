"""Tests for `hexapost keys`."""

import os
import re
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import URL

from adapters.cli.arguments import parse_duration
from application.api_key_tokens import PepperSet, parse_api_key_id
from tests.cli.conftest import CREATE, Hexapost, Keys
from tests.cli.support import COMMAND, PATIENCE, environment, queried, rendered

SECRET = "0123456789abcdef0123456789abcdef"  # noqa: S105 - a sample
EXPIRED = "created_at = '2020-01-01Z', expires_at = '2020-01-02Z'"


@pytest.fixture
def user(keys: Keys) -> str:
    """The id of a user."""
    (user_id,) = queried(
        keys.url,
        "INSERT INTO users (id, email, email_normalized, is_active, created_at, updated_at, version) VALUES "
        "(gen_random_uuid(), 'ada@example.org', 'ada@example.org', true, now(), now(), 1) RETURNING id",
    )
    return str(user_id)


def test_keys_create_prints_only_the_key_to_stdout(keys: Keys, tmp_path: Path) -> None:
    outcome = keys("create", "--name", "My app", "--scope", "users:read", "--scope", "posts:read")
    assert outcome.status == 0
    text = outcome.stdout.removesuffix("\n")
    (key_id,) = keys.stored()
    assert parse_api_key_id(text) == key_id
    lines = outcome.stderr.splitlines()
    assert f"hexapost: created key {key_id}; it does not expire" in lines
    hint = "using the pepper in .hexapost/key.pepper; the service needs the same (HEXAPOST_API_KEY_PEPPERS)"
    assert f"hexapost: {hint}" in lines
    assert text not in outcome.stderr
    (digest,) = keys.stored("digest")
    peppers = PepperSet({1: (tmp_path / ".hexapost" / "key.pepper").read_bytes()})
    assert bytes(digest) == peppers.hash(text).digest
    assert [set(scopes) for scopes in keys.stored("scopes")] == [{"users:read", "posts:read"}]


def test_keys_create_uses_highest_pepper_version(keys: Keys, tmp_path: Path) -> None:
    outcome = keys(*CREATE, HEXAPOST_API_KEY_PEPPERS=f"3:{SECRET},7:{SECRET[::-1]}")
    assert keys.stored("pepper") == [7]
    assert "key.pepper" not in outcome.stderr
    assert SECRET not in outcome.stderr
    assert not (tmp_path / ".hexapost").exists()


def test_keys_list_creates_no_files(keys: Keys, tmp_path: Path) -> None:
    assert keys.rows() == []
    assert list(tmp_path.iterdir()) == []


def test_keys_create_writes_no_metrics(keys: Keys, tmp_path: Path) -> None:
    (metrics := tmp_path / "metrics").mkdir()
    keys.created(*CREATE, PROMETHEUS_MULTIPROC_DIR=str(metrics))
    assert list(metrics.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("2w", timedelta(weeks=2)),
        ("90m", timedelta(hours=1.5)),
        ("0s", timedelta(0)),
    ],
)
def test_duration_argument_is_parsed(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


def test_keys_create_expires_in_sets_expiry(keys: Keys) -> None:
    keys.created(*CREATE, "--expires-in", "90d")
    assert keys.stored("expires_at - created_at BETWEEN interval '89.99 days' AND interval '90.01 days'") == [True]


@pytest.mark.parametrize("text", ["2999-12-31T23:30:00+01:00", "2999-12-31t22:30:00.000z"])
def test_keys_create_expires_at_sets_expiry(keys: Keys, text: str) -> None:
    outcome = keys(*CREATE, "--expires-at", text)
    assert "it expires at 2999-12-31T22:30:00Z" in outcome.stderr
    assert keys.stored("expires_at") == [datetime(2999, 12, 31, 22, 30, tzinfo=UTC)]


def test_keys_create_user_id_binds_key(keys: Keys, user: str) -> None:
    keys.created(*CREATE, "--user-id", user)
    keys.created(*CREATE, "--user-id", user.replace("-", "").upper())
    assert keys.stored("user_id") == [UUID(user)] * 2


def test_keys_list_prints_newest_first(keys: Keys, user: str) -> None:
    keys.created("create", "--name", "My app", "--scope", "users:read", "--scope", "posts:read")
    keys.created(*CREATE, "--user-id", user, "--expires-in", "1d", HEXAPOST_API_KEY_PEPPERS=f"12:{SECRET}")
    keys.created()
    keys.created()
    first, second, third, fourth = map(str, keys.stored())
    queried(
        keys.url,
        "UPDATE api_keys SET created_at = '2030-01-02T03:04:05Z', last_used_at = '2030-01-02T03:04:06.789Z', "
        "expires_at = CASE WHEN user_id IS NOT NULL THEN timestamptz '2999-01-01T00:00:00Z' END",
    )
    queried(keys.url, f"UPDATE api_keys SET revoked_at = now() WHERE id = '{third}'")  # noqa: S608
    queried(keys.url, f"UPDATE api_keys SET {EXPIRED} WHERE id = '{fourth}'")  # noqa: S608
    created, used = "2030-01-02T03:04:05Z", "2030-01-02T03:04:06Z"
    assert keys.rows() == [
        [fourth, "K", "users:read", "-", "2020-01-01T00:00:00Z", "2020-01-02T00:00:00Z", used, "expired", "1"],
        [third, "K", "users:read", "-", created, "-", used, "revoked", "1"],
        [second, "K", "users:read", user, created, "2999-01-01T00:00:00Z", used, "live", "12"],
        [first, "My app", "posts:read,users:read", "-", created, "-", used, "live", "1"],
    ]
    lines = keys("list").stdout.splitlines()
    header = ["ID", "NAME", "SCOPES", "USER", "CREATED", "EXPIRES", "LAST USED", "STATE", "PEPPER"]
    assert re.split(r"  +", lines[0]) == header
    assert [lines[0].index(head) for head in ("NAME", "USER", "STATE")] == [38, 69, lines[4].index("live")]


def test_keys_list_reads_all_pages(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.cli.keys.PAGE_SIZE", 2)
    for _ in range(5):
        keys.created()
    assert [row[0] for row in keys.rows()] == [str(key_id) for key_id in reversed(keys.stored())]


@pytest.mark.parametrize("form", ["id", "without dashes", "key", "key cut off", "pasted"])
def test_keys_revoke_accepts_id_or_key(keys: Keys, form: str) -> None:
    text = keys.created()
    (key_id,) = keys.stored()
    argument = {
        "id": str(key_id),
        "without dashes": key_id.hex,
        "key": text,
        "key cut off": text[:45] + "…",
        "pasted": f" {text}\n",
    }[form]
    outcome = keys("revoke", argument, HEXAPOST_API_KEY_CACHE_SECONDS="2.5")
    assert (outcome.status, outcome.stdout) == (0, "")
    lines = [line.removeprefix("hexapost: ") for line in outcome.stderr.splitlines()[-2:]]
    assert lines == [f"revoked key {key_id}", "running processes reject the key within 2.5 s"]
    assert text[38:] not in outcome.stderr
    (revoked_at,) = keys.stored("revoked_at")
    assert revoked_at is not None
    if form == "id":
        assert keys("revoke", argument).status == 0
        assert keys.stored("revoked_at") == [revoked_at]


@pytest.mark.parametrize(("arguments", "overlap"), [([], timedelta(hours=24)), (["--overlap", "0s"], timedelta(0))])
def test_keys_rotate_replaces_key_after_overlap(keys: Keys, arguments: list[str], overlap: timedelta) -> None:
    text = keys.created("create", "--name", "My app", "--scope", "users:read", "--scope", "posts:read")
    (before,) = keys.stored()
    outcome = keys("rotate", str(before), *arguments)
    assert outcome.status == 0, outcome.stderr
    assert keys.stored()[0] == before
    after = keys.stored()[1]
    assert parse_api_key_id(outcome.stdout.removesuffix("\n")) == after != before
    assert outcome.stdout != text
    ends = keys.stored("expires_at")
    assert abs(datetime.now(UTC) + overlap - ends[0]) < timedelta(minutes=1)
    assert ends[1] is None
    assert outcome.stderr.splitlines()[-2:] == [
        f"hexapost: created key {after}; it does not expire",
        f"hexapost: the key {before} expires at {ends[0]:%Y-%m-%dT%H:%M:%SZ}",
    ]
    assert keys.stored("scopes")[0] == keys.stored("scopes")[1]


@pytest.mark.parametrize("change", ["revoked_at = now()", EXPIRED])
def test_keys_rotate_returns_2_for_inactive_key(keys: Keys, change: str) -> None:
    keys.created()
    (key_id,) = keys.stored()
    queried(keys.url, f"UPDATE api_keys SET {change}")  # noqa: S608 - a parameter of this test
    outcome = keys("rotate", str(key_id))
    assert (outcome.status, outcome.stdout) == (2, "")
    assert "The key is revoked or expired. Create a new one with `hexapost keys create`." in outcome.stderr
    assert keys.stored() == [key_id]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full (Linux)")
@pytest.mark.parametrize("closed", [False, True])
def test_keys_create_revokes_key_when_stdout_fails(database: URL, tmp_path: Path, closed: bool) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(  # noqa: S603 - our own command
            [*COMMAND, "keys", *CREATE],
            cwd=tmp_path,
            env=environment(DATABASE_URL=rendered(database)),
            stdout=writer if closed else full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
    os.close(writer)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert queried(database, "SELECT revoked_at IS NOT NULL FROM api_keys") == [True]


def test_keys_revoke_help_mentions_whole_key(hexapost: Hexapost) -> None:
    outcome = hexapost("keys", "revoke", "--help")
    assert outcome.status == 0
    assert "or the key itself" in outcome.stdout
