"""The commands of docs/deployment.md that back up a service and restore it on another server."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy import URL, make_url

from adapters.embedded import EmbeddedPostgres
from adapters.embedded.binaries import find_installation
from adapters.testing.template_databases import FAST, Databases, connected, libpq_url
from tests.cli.support import PATIENCE, ROOT, create_api_key, environment, rendered, serving, wait_until
from tests.support.schema_dump import revisions, schema

BLOCKS = re.findall(r"^```sh\n(.*?)^```", (ROOT / "docs/deployment.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
BACKUP, RESTORE = ([block for block in BLOCKS if f"pg_{name} " in block] for name in ("dump", "restore"))
"""The documented commands."""

FIRST_PAGE = {"limit": "1"}
CONNECTIONS = """
    SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""


def create_user(client: httpx.Client) -> httpx.Response:
    """Send the same idempotent request in each call."""
    key = {"Idempotency-Key": "2c7f31d4-6f0e-4b8f-a0b5-6a2a3f9c1e57"}
    return client.post("/api/v1/users", json={"email": "ada@example.org"}, headers=key)


@dataclass(frozen=True, kw_only=True)
class Service:
    """A database, and a directory with the secrets of the service."""

    url: URL
    directory: Path

    def run(self, commands: list[str]) -> None:
        """Run documented commands. Fail if one of them fails."""
        programs = [str(find_installation().directory), str(Path(sys.executable).parent), "/usr/bin", "/bin"]
        connection = conninfo_to_dict(libpq_url(self.url))
        variables = {
            f"PG{name.upper().replace('DBNAME', 'DATABASE')}": str(value) for name, value in connection.items()
        }
        done = subprocess.run(  # noqa: S603 - our own documentation
            ["/bin/sh", "-ec", "\n".join(commands)],
            cwd=self.directory,
            env=environment(DATABASE_URL=rendered(self.url), PATH=":".join(programs), **variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 0, done.stdout

    @contextmanager
    def client(self, key: str) -> Iterator[httpx.Client]:
        """Serve, and yield a client with the API key."""
        headers = {"Authorization": f"Bearer {key}"}
        with (
            serving(self.directory, DATABASE_URL=rendered(self.url)) as served,
            httpx.Client(base_url=served.base_url(), headers=headers, timeout=PATIENCE) as client,
        ):
            yield client


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A service that is restored on another server, and requests from before the backup with their responses."""

    restored: Service
    key: str
    created: Mapping[str, Any]
    second_page: Mapping[str, str]
    second_user: Mapping[str, Any]


@pytest.fixture(scope="module")
def backup(databases: Databases, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backup]:
    source = Service(
        url=databases.clone().set(drivername="postgresql+asyncpg"), directory=tmp_path_factory.mktemp("source")
    )
    with connected(source.url) as connection:
        if connection.info.server_version // 10_000 > find_installation().major:
            pytest.skip("pg_dump is older than the server")
    key = create_api_key(source.directory, DATABASE_URL=rendered(source.url))
    with source.client(key) as client:
        created = create_user(client)
        client.post("/api/v1/users", json={"email": "grace@example.org"}).raise_for_status()
        cursor = client.get("/api/v1/users", params=FIRST_PAGE).json()["next_cursor"]
        second_page = FIRST_PAGE | {"cursor": cursor}
        second_user = client.get("/api/v1/users", params=second_page).json()
        source.run(BACKUP)  # the service runs
    target = tmp_path_factory.mktemp("target")
    with EmbeddedPostgres(target / "postgres", settings=FAST, report=lambda _: None) as server:
        restored = Service(url=make_url(server.url("restored")), directory=target)
        shutil.move(source.directory / "backup", target / "backup")
        restored.run(RESTORE)
        assert (schema(restored.url), revisions(restored.url)) == (schema(source.url), revisions(source.url))
        databases.drop(source.url)
        yield Backup(
            restored=restored, key=key, created=created.json(), second_page=second_page, second_user=second_user
        )


@pytest.fixture
def without(backup: Backup, tmp_path: Path, request: pytest.FixtureRequest) -> Service:
    """The restored service in a directory that lacks the secret of the parameter."""
    directory = tmp_path / "service"
    shutil.copytree(backup.restored.directory / ".hexapost", directory / ".hexapost")
    (directory / ".hexapost" / request.param).unlink()
    return Service(url=backup.restored.url, directory=directory)


def test_restored_service_accepts_key_cursor_and_replay(backup: Backup) -> None:
    with backup.restored.client(backup.key) as client:
        replay = create_user(client)
        assert (replay.status_code, replay.headers["Idempotency-Replayed"]) == (201, "true")
        assert replay.json() == backup.created
        assert client.get("/api/v1/users", params=backup.second_page).json() == backup.second_user
        assert len(client.get("/api/v1/users").json()["items"]) == 2
        with connected(backup.restored.url) as admin:
            wait_until(lambda: admin.execute(CONNECTIONS).fetchone() == (10 + 1,))  # those of docs/deployment.md


@pytest.mark.parametrize("without", ["key.pepper"], indirect=True)
def test_restored_service_returns_401_without_its_pepper(backup: Backup, without: Service) -> None:
    with without.client(backup.key) as client:
        assert client.get("/api/v1/users").status_code == 401
        assert create_user(client).status_code == 401


@pytest.mark.parametrize("without", ["cursor.secret"], indirect=True)
def test_restored_service_returns_422_without_its_cursor_secret(backup: Backup, without: Service) -> None:
    with without.client(backup.key) as client:
        rejected = client.get("/api/v1/users", params=backup.second_page)
        assert (rejected.status_code, rejected.json()["errors"][0]["code"]) == (422, "invalid_cursor")
        assert client.get("/api/v1/users", params=FIRST_PAGE).status_code == 200
