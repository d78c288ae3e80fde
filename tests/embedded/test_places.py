"""Directories with awkward names, owners and contents."""

import os
import shutil
import stat
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from adapters.embedded import EmbeddedPostgres, EmbeddedPostgresError
from adapters.embedded.layout import Layout
from adapters.embedded.logs import what_went_wrong
from tests.embedded.conftest import copy_cluster
from tests.embedded.support import answers, quiet, user_process

AWKWARD = ["with space", 'it\'s "quoted" $HOME; `x`', "größe-数据-🐘", "a,b=c%d&e", "-D", "long" * 15 + "/" + "er" * 40]


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_names(template: Path, tmp_path: Path, name: str) -> None:
    directory = copy_cluster(template, tmp_path / name)
    with user_process(directory, "check") as user:
        user.read("url ")
        assert user.leave() == 0
        assert "answer 42" in user.lines


def test_a_new_cluster_in_an_awkward_place(tmp_path: Path) -> None:
    with quiet(tmp_path / AWKWARD[1] / AWKWARD[-1]) as server:
        assert answers(server.url(driver=None))
        assert len(server.host) < 60


@pytest.mark.parametrize("name", [b"\xff\xfe latin \xe9"] if sys.platform == "linux" else [b"\xc3\xa9"])
def test_a_name_that_is_not_utf8(template: Path, tmp_path: Path, name: bytes) -> None:
    directory = copy_cluster(template, tmp_path / os.fsdecode(name))
    with quiet(directory) as server:
        assert answers(server.url(driver=None))


def test_a_link_to_the_directory_is_the_same_directory(directory: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(directory)
    with quiet(directory) as one, quiet(tmp_path / "link") as other:
        assert one.host == other.host


def test_the_directory_becomes_private(directory: Path) -> None:
    directory.chmod(0o755)
    with quiet(directory) as server:
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
        assert stat.S_IMODE(Path(server.host).stat().st_mode) == 0o700


@pytest.mark.parametrize("squatter", ["link", "open directory", "file"])
def test_a_squatter_in_the_place_of_the_sockets_is_refused(directory: Path, tmp_path: Path, squatter: str) -> None:
    with quiet(directory) as server:
        place = Path(server.host)
    target = tmp_path / "target"
    target.mkdir(mode=0o700)
    (target / "precious").touch()
    try:
        if squatter == "link":
            place.symlink_to(target)
        elif squatter == "file":
            place.touch()
        else:
            place.mkdir()
            place.chmod(0o777)
        with pytest.raises(EmbeddedPostgresError, match="is in the way"), quiet(directory):
            pass
        assert place.exists()
        assert (target / "precious").exists()
    finally:
        if place.is_dir() and not place.is_symlink():
            place.rmdir()
        else:
            place.unlink()


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedPostgresError, match="cannot use the directory"), quiet(tmp_path / "file" / "postgres"):
        pass


def test_an_incomplete_cluster_is_left_as_it_is(tmp_path: Path) -> None:
    precious = tmp_path / "data" / "precious"
    precious.parent.mkdir()
    precious.write_text("mine")
    with pytest.raises(EmbeddedPostgresError, match="not a complete PostgreSQL cluster"), quiet(tmp_path):
        pass
    assert precious.read_text() == "mine"
    assert [path.name for path in precious.parent.iterdir()] == ["precious"]


def test_a_cluster_of_another_major_version_is_left_as_it_is(directory: Path) -> None:
    (directory / "data" / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedPostgresError, match=r"made by PostgreSQL 13, but PostgreSQL 1\d.* was found"):
        quiet(directory).start()
    assert (directory / "data" / "PG_VERSION").read_text() == "13\n"
    assert (directory / "data" / "global" / "pg_control").exists()


def test_a_setting_that_postgres_refuses_shows_its_own_words(directory: Path) -> None:
    server = EmbeddedPostgres(directory, report=lambda _: None, settings={"max_connections": "many"})
    with pytest.raises(EmbeddedPostgresError, match='invalid value for parameter "max_connections": "many"'):
        server.start()
    with quiet(directory) as healthy:
        assert answers(healthy.url(driver=None))


def test_a_full_disk_is_named(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (directory / "postgres.log").write_text("LOG: something")
    assert what_went_wrong(Layout(directory)) == "LOG: something"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=4096))
    assert what_went_wrong(Layout(directory)) == "Only 4 kB are free on its disk.\nLOG: something"


def test_a_deleted_directory_is_made_anew_beside_the_server_that_still_runs(directory: Path) -> None:
    with quiet(directory) as orphaned:
        while directory.exists():  # the server may remove, and make, files of its own meanwhile
            shutil.rmtree(directory, ignore_errors=True)
        with quiet(directory) as server:
            assert server.host != orphaned.host
            assert answers(server.url(driver=None))
