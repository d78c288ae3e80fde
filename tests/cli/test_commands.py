"""Tests for commands and their messages about settings and the database."""

import asyncio
import json
import re
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import URL
from structlog.testing import capture_logs

from adapters.cli import serve
from adapters.cli.database import check_database
from adapters.postgres.schema import upgrade
from adapters.secret_files import key_peppers, load_or_create_secret
from adapters.settings import Settings
from adapters.testing.template_databases import Databases, with_driver
from application.api_key_tokens import PepperSet
from migrations.runner.lock_retry import MigrationError
from tests.cli.conftest import Hexapost
from tests.cli.support import ROOT, create_api_key, queried, rendered

INSERT = """
INSERT INTO idempotency_records (api_key_id, key_hash, fingerprint, response, created_at, expires_at)
SELECT id, sha256(n::text::bytea), sha256('f'), 'a', now() - interval '2 days', now() {} interval '1 day'
FROM api_keys, generate_series({}, {}) AS n
"""
EXPIRED_USER_AND_POSTS = """
WITH author AS (
    INSERT INTO users (id, email, email_normalized, is_active, created_at, updated_at, version)
    SELECT gen_random_uuid(), 'ada@x.org', 'ada@x.org', false, old, old, 1
    FROM (SELECT now() - interval '3 days') AS times (old)
    RETURNING *
)
INSERT INTO posts (author_id, id, title, content, status, published_at, created_at, updated_at, version)
SELECT id, gen_random_uuid(), 'T', 'C', status, CASE status WHEN 'archived' THEN now() END, created_at, updated_at, 1
FROM author, unnest(ARRAY['draft', 'draft', 'archived']) AS status
"""
OUTDATED = "migrations outdated; run `hexapost migrate`"


@pytest.fixture(scope="module")
def unmigrated(databases: Databases) -> Iterator[URL]:
    """A database without tables, for read-only tests."""
    url = databases.empty().set(drivername="postgresql+asyncpg")
    yield url
    databases.drop(url)


def test_all_invalid_settings_are_named_without_values(hexapost: Hexapost) -> None:
    outcome = hexapost(
        "serve",
        "--workers=h1dden",
        DATABASE_URL="mysql://root:h1dden@db/x",
        HEXAPOST_DB_POOL_SIZE="h1dden",
        HEXAPOST_COLOUR="h1dden",
        HEXAPOST_DATABASE_URL="h1dden",
        HEXAPOST_CURSOR_SECRET="h1dden",  # noqa: S106 - too short to be one
    )
    assert outcome.status == 2
    names = sorted(line.split(": ")[1] for line in outcome.stderr.splitlines())
    assert names == [
        "DATABASE_URL", "HEXAPOST_COLOUR", "HEXAPOST_CURSOR_SECRET", "HEXAPOST_DATABASE_URL", "HEXAPOST_DB_POOL_SIZE",
        "HEXAPOST_WORKERS",
    ]  # fmt: skip
    assert "h1dden" not in outcome.stderr


@pytest.mark.parametrize("command", ["serve", "migrate", "check", "purge", "keys list"])
def test_command_returns_2_without_a_database(hexapost: Hexapost, command: str) -> None:
    outcome = hexapost(*command.split())
    assert outcome.status == 2
    assert outcome.stderr.startswith("hexapost: DATABASE_URL is not set. Example: postgresql+asyncpg://")
    assert outcome.stderr.endswith("Or pass --embedded to start a local PostgreSQL.\n")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("serve --port 0", "cannot serve: migrations: outdated; run `hexapost migrate`"),
        ("purge", OUTDATED),
        ("keys list", OUTDATED),
        ("keys create --name K --scope users:read", OUTDATED),
    ],
)
def test_command_returns_1_when_schema_is_outdated(
    hexapost: Hexapost, unmigrated: URL, command: str, message: str
) -> None:
    outcome = hexapost(*command.split(), DATABASE_URL=rendered(unmigrated))
    assert outcome.status == 1
    assert outcome.stderr.splitlines()[-1] == f"hexapost: {message}"
    assert "Traceback" not in outcome.stderr


def test_serve_warns_when_schema_is_newer(scratch: URL) -> None:
    queried(scratch, "INSERT INTO alembic_version VALUES ('of_the_future')")
    with capture_logs() as logs:
        assert serve._is_ready(Settings(), scratch.set(drivername="postgresql+asyncpg"))
    assert logs == [{"event": "schema is newer than this release", "log_level": "warning"}]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_returns_1_when_port_is_in_use(hexapost: Hexapost, workers: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        outcome = hexapost("serve", "--port", port, "--workers", workers, "--embedded")
    reason = "address already in use. See HEXAPOST_HOST and HEXAPOST_PORT."
    assert (outcome.status, outcome.stdout) == (1, "")  # before the database is started
    assert outcome.stderr == f"hexapost: cannot listen on 127.0.0.1:{port}: {reason}\n"


def test_serve_returns_2_for_unknown_trace_exporter(hexapost: Hexapost, database: URL) -> None:
    outcome = hexapost("serve", "--port", "0", DATABASE_URL=rendered(database), OTEL_TRACES_EXPORTER="jaeger")
    assert outcome.status == 2
    assert "hexapost: OTEL_TRACES_EXPORTER: only otlp is supported" in outcome.stderr.splitlines()


def test_migrate_applies_revisions_once(hexapost: Hexapost, empty: URL) -> None:
    url = rendered(empty)
    before = hexapost("check", DATABASE_URL=url)
    assert before.status == 1
    assert "migrations: outdated; run `hexapost migrate` (NOT READY)" in before.stdout

    first = hexapost("migrate", DATABASE_URL=url)
    assert first.status == 0, first.stderr
    assert "applied revision" in first.stdout
    assert "ck_posts_status_known" in queried(empty, "SELECT conname FROM pg_constraint")
    assert "applied revision" not in hexapost("migrate", DATABASE_URL=url).stdout

    after = hexapost("check", DATABASE_URL=url)
    assert after.status == 0
    assert "migrations: current" in after.stdout


def test_migrate_returns_1_for_a_failed_revision(
    hexapost: Hexapost, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MigrationError("adding constraint x: no lock")

    monkeypatch.setattr(upgrade, "upgrade", fail)
    outcome = hexapost("migrate", DATABASE_URL=rendered(database))
    assert (outcome.status, outcome.stderr) == (1, "hexapost: adding constraint x: no lock\n")


@pytest.mark.parametrize(("arguments", "allowed"), [([], False), (["--allow-unsafe"], True)])
def test_migrate_passes_allow_unsafe(
    hexapost: Hexapost, database: URL, monkeypatch: pytest.MonkeyPatch, arguments: list[str], *, allowed: bool
) -> None:
    given: list[object] = []
    monkeypatch.setattr(upgrade, "upgrade", lambda *_, **keywords: given.append(keywords))
    assert hexapost("migrate", *arguments, DATABASE_URL=rendered(database)).status == 0
    assert given == [{"allow_unsafe": allowed}]


def test_check_lists_pending_revisions(unmigrated: URL, scratch: URL) -> None:
    settings = Settings()
    ready = {"database": (True, "reachable (primary)"), "migrations": (True, "current")}
    database = with_driver(scratch, "asyncpg")
    assert asyncio.run(check_database(settings, database)) == (ready, [])
    _, lines = asyncio.run(check_database(settings, unmigrated))
    assert lines[0] == "pending: ccc0279a8e0d: create users and posts (expand)"
    assert any(line.startswith("  SHARE ROW EXCLUSIVE on users: CREATE TABLE api_keys") for line in lines)


def test_check_warns_about_several_hosts_without_session_attributes(hexapost: Hexapost) -> None:
    url, warning = "postgresql://127.0.0.1:1,127.0.0.1:2/x", "require target_session_attrs=read-write"
    assert warning in hexapost("check", DATABASE_URL=url).stdout
    assert warning not in hexapost("check", DATABASE_URL=f"{url}?target_session_attrs=read-write").stdout


def test_check_lists_no_revisions_when_unreachable() -> None:
    url = URL.create("postgresql+asyncpg", "x", database="x", query={"host": "/nowhere/at/all"})
    reason = "cannot connect to PostgreSQL at /nowhere/at/all:5432: socket does not exist"
    unreachable = {"database": (False, reason), "migrations": (False, "unknown")}
    assert asyncio.run(check_database(Settings(), url)) == (unreachable, [])


def test_purge_deletes_and_counts_expired_records(hexapost: Hexapost, database: URL, tmp_path: Path) -> None:
    create_api_key(tmp_path / "key", DATABASE_URL=rendered(database))
    queried(database, INSERT.format("-", 1, 1001))
    queried(database, INSERT.format("+", 1002, 1003))
    for message in (
        "1001 expired idempotency records",
        "1 expired idempotency record",
        "0 expired idempotency records",
    ):
        if message == "1 expired idempotency record":
            queried(database, INSERT.format("-", 1, 1))
        outcome = hexapost("purge", DATABASE_URL=rendered(database))
        assert outcome.status == 0, outcome.stderr
        assert f"hexapost: deleted {message}" in outcome.stdout.splitlines()
        assert queried(database, "SELECT count(*) FROM idempotency_records") == [2]
    assert not (tmp_path / ".hexapost").exists()


def test_purge_applies_the_retention_of_settings(hexapost: Hexapost, database: URL) -> None:
    queried(database, EXPIRED_USER_AND_POSTS)
    settings = {
        "DATABASE_URL": rendered(database),
        "HEXAPOST_DRAFT_RETENTION_DAYS": "2",
        "HEXAPOST_ARCHIVED_POST_RETENTION_DAYS": "2",
    }
    lines = ["0 expired idempotency records", "2 expired drafts", "1 expired archived post"]
    for arguments, verb, rows in ((["--dry-run"], "would delete", 3), ([], "deleted", 0)):
        outcome = hexapost("purge", *arguments, **settings)
        assert outcome.stdout.splitlines()[-3:] == [f"hexapost: {verb} {line}" for line in lines], outcome.stderr
        assert queried(database, "SELECT count(*) FROM posts") == [rows]
    outcome = hexapost("purge", **settings, HEXAPOST_INACTIVE_USER_RETENTION_DAYS="2")
    assert outcome.stdout.splitlines()[-1] == "hexapost: deleted 1 expired inactive user"
    assert queried(database, "SELECT count(*) FROM users") == [0]


def test_openapi_prints_writes_and_compares(hexapost: Hexapost, tmp_path: Path) -> None:
    printed = hexapost("openapi")
    assert json.loads(printed.stdout)["openapi"].startswith("3.1")
    assert printed.stdout == (ROOT / "openapi.json").read_text()

    path = tmp_path / "openapi.json"
    assert hexapost("openapi", "--write", str(path)).status == 0
    assert path.read_text() == printed.stdout
    assert hexapost("openapi", "--check", str(path)).status == 0
    path.write_text(printed.stdout.replace("Hexapost", "Heptapost"))
    assert hexapost("openapi", "--check", str(path)).status == 1


def test_openapi_check_returns_1_for_missing_file(hexapost: Hexapost) -> None:
    outcome = hexapost("openapi", "--check", "nowhere.json")
    assert outcome.status == 1
    assert "Traceback" not in outcome.stderr
    assert "nowhere.json" in outcome.stderr


def test_child_process_gets_url_when_dotenv_names_its_file(hexapost: Hexapost, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("DATABASE_URL_FILE=url\n")
    (tmp_path / "url").write_text("postgresql+asyncpg://ada@/posts\n")
    script = "from adapters.settings import database_url; print(database_url())"
    outcome = hexapost("with-database", sys.executable, "-c", script, PYTHONPATH=str(ROOT))
    assert outcome.stdout.splitlines()[-1:] == ["postgresql+asyncpg://ada@/posts"], outcome.stderr


def test_secret_file_is_created_once(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "down" / "secret"
    first = load_or_create_secret(path, "")
    assert re.fullmatch(rb"[0-9a-f]{64}", first)
    assert path.stat().st_mode & 0o777 == 0o600
    assert load_or_create_secret(path, "") == first
    assert list(path.parent.iterdir()) == [path]
    assert load_or_create_secret(path.with_name("other"), "") != first


@pytest.mark.parametrize("content", [b"", b"x" * 31])
def test_short_secret_file_raises_and_is_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(OSError, match="shorter than 32 bytes"):
        load_or_create_secret(path, "")
    assert path.read_bytes() == content


def test_concurrent_processes_get_the_same_secret(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        secrets = list(threads.map(lambda _: load_or_create_secret(tmp_path / "deep" / "secret", ""), range(32)))
    assert len(set(secrets)) == 1
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["secret"]


def test_peppers_come_from_environment_or_file(tmp_path: Path) -> None:
    from_file = key_peppers(Settings(state_directory=tmp_path))
    hashed = from_file.hash("a key")
    assert hashed == PepperSet({1: (tmp_path / "key.pepper").read_bytes()}).hash("a key")
    assert (tmp_path / "key.pepper").stat().st_mode & 0o777 == 0o600
    variable = f"2:{'x' * 32},1:{(tmp_path / 'key.pepper').read_text()}"
    from_environment = key_peppers(Settings.model_validate({"api_key_peppers": variable}))
    assert from_environment.verify("a key", hashed)
    assert from_environment.hash("a key") == PepperSet({2: b"x" * 32}).hash("a key")
