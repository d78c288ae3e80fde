"""Tests for directories with unusual names, owners and contents."""

import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedPostgres, EmbeddedPostgresError, embedded_postgres, make_private_directory
from adapters.embedded.paths import create_socket_directory
from tests.embedded.support import (
    UserProcess,
    answers,
    ask,
    copy_cluster,
    installation_with_initdb,
    quiet,
)

NAMES = [
    "with space",
    'it\'s "quoted" $HOME; `x` a,b=c%d&e größe-数据-🐘',
    "-D",
    os.fsdecode(b"\xff\xfe latin \xe9" if sys.platform == "linux" else b"\xc3\xa9"),
]
LONG_NAME = "long" * 15 + "/" + "er" * 40


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_server_starts_in_directory_with_unusual_name(template: Path, tmp_path: Path, name: str) -> None:
    with quiet(copy_cluster(template, tmp_path / name)) as server:
        assert answers(server)


def test_new_cluster_starts_below_long_path(tmp_path: Path) -> None:
    with quiet(tmp_path / NAMES[1] / LONG_NAME) as server:
        assert answers(server)
        assert len(server.host) < 60


def test_directory_and_sockets_are_private(running: EmbeddedPostgres, running_directory: Path) -> None:
    assert stat.S_IMODE(running_directory.stat().st_mode) == 0o700
    assert stat.S_IMODE(Path(running.host).stat().st_mode) == 0o700


@pytest.mark.parametrize("umask", [0o000, 0o777])
@pytest.mark.parametrize("mode", [None, 0o755, 0o2770], ids=["new", "0755", "2770"])
def test_private_directory_has_mode_0700(tmp_path: Path, umask: int, mode: int | None) -> None:
    directory = tmp_path / "parent" / "directory"
    if mode is not None:
        directory.mkdir(parents=True)
        directory.chmod(mode)
    before = os.umask(umask)
    try:
        assert make_private_directory(directory) == directory.resolve()
    finally:
        os.umask(before)
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert mode is not None or stat.S_IMODE(directory.parent.stat().st_mode) == 0o700


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_new_directories_are_private_with_any_umask(tmp_path: Path, umask: int) -> None:
    directory = tmp_path / "state" / "postgres"
    with UserProcess(directory, umask=umask) as user:
        assert ask(user.url(), "SELECT true")
        assert {stat.S_IMODE(path.stat().st_mode) for path in (directory, directory.parent)} == {0o700}
        assert {stat.S_IMODE(path.stat().st_mode) & 0o077 for path in directory.iterdir()} == {0}
        assert user.leave() == 0


def test_link_to_directory_shares_the_server(
    running: EmbeddedPostgres, running_directory: Path, tmp_path: Path
) -> None:
    (tmp_path / "link").symlink_to(running_directory)
    with quiet(tmp_path / "link") as linked:
        assert linked.host == running.host


@pytest.mark.parametrize("obstacle", ["link", "open directory", "file"])
def test_socket_directory_is_not_taken_over_from(tmp_path: Path, obstacle: str) -> None:
    def create() -> Path:
        return create_socket_directory(tmp_path.stat(), uid=os.geteuid(), gid=os.getegid())

    path = create()
    path.rmdir()
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (target / "precious").touch()
    try:
        if obstacle == "link":
            path.symlink_to(target)
        elif obstacle == "file":
            path.touch()
        else:
            path.mkdir()
            path.chmod(0o777)
        with pytest.raises(EmbeddedPostgresError, match="is not a private directory"):
            create()
        assert path.exists()
        assert (target / "precious").exists()
    finally:
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def test_start_raises_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="cannot use the directory"), quiet(tmp_path / "file" / "postgres"):
        pass


def test_incomplete_cluster_is_left_unchanged(tmp_path: Path) -> None:
    precious = tmp_path / "data" / "precious"
    precious.parent.mkdir()
    precious.write_text("mine")
    with pytest.raises(EmbeddedPostgresError, match="PostgreSQL version unknown"), quiet(tmp_path):
        pass
    assert precious.read_text() == "mine"
    assert [path.name for path in precious.parent.iterdir()] == ["precious"]


def test_cluster_of_another_major_version_is_left_unchanged(directory: Path) -> None:
    (directory / "data" / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedPostgresError, match=r"PostgreSQL version 13, but PostgreSQL 1\d.* was found"):
        quiet(directory).start()
    assert (directory / "data" / "PG_VERSION").read_text() == "13\n"
    assert (directory / "data" / "global" / "pg_control").exists()


def test_failing_initdb_raises_and_leaves_no_cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = "#!/bin/sh\necho 'initdb: error: no space left' >&2\nexit 1\n"
    failing = installation_with_initdb(tmp_path / "programs", script)
    monkeypatch.setattr(embedded_postgres, "find_installation", lambda: failing)
    with pytest.raises(
        EmbeddedPostgresError,
        match=r"create a cluster in .*: no space left \(log: .*\)$",
    ):
        quiet(tmp_path / "new").start()
    assert not (tmp_path / "new" / "data").exists()


def test_invalid_setting_raises_with_server_message(directory: Path) -> None:
    server = EmbeddedPostgres(directory, report=lambda _: None, settings={"max_connections": "many"})
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "max_connections": "many"'):
        server.start()


def test_deleted_directory_gets_a_new_server(directory: Path) -> None:
    with quiet(directory) as orphaned:
        while directory.exists():  # the server may create and remove files meanwhile
            shutil.rmtree(directory, ignore_errors=True)
        with quiet(directory) as server:
            assert server.host != orphaned.host
            assert answers(server)
