"""Files of figures: whose they are, and who takes them over."""

import os
from pathlib import Path

import pytest

from adapters.telemetry.slots import forget_the_dead, taken_slot
from tests.telemetry.scrapes import Scrape
from tests.telemetry.workers import Worker

REQUESTS = "hexapost_http_requests_total"
GAUGE = "gauge_livesum_0.db"


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.suffix in {".db", ".lock"})


@pytest.mark.parametrize("end", ["killed", "orderly"])
def test_the_directory_does_not_grow_with_those_who_have_ended(tmp_path: Path, end: str) -> None:
    lasting = Worker(tmp_path, 1, end).ready()
    sizes = []
    for _ in range(5):
        worker = Worker(tmp_path, 10, end).ready()
        sizes.append(len(files(tmp_path)))
        worker.killed() if end == "killed" else worker.ended()
    assert set(sizes) == {sizes[0]}
    found = Scrape(lasting.ended("show"))
    assert found.total(REQUESTS) == 51, "nothing is lost, or counted twice"
    assert found.total("hexapost_http_request_duration_seconds_count") == 51
    assert found.total("hexapost_purge_lag_seconds") == 10
    assert found.total("hexapost_http_requests_in_flight") == 1, "nobody else is at work"


def test_those_who_start_at_once_do_not_share_files(tmp_path: Path) -> None:
    for _ in range(2):
        workers = [Worker(tmp_path, 100) for _ in range(4)]
        for worker in workers:
            worker.ready()
        assert sum(name.startswith("counter_") for name in files(tmp_path)) == 4
        for worker in workers[1:]:
            worker.killed()
        last = workers[0].ended("show")
    assert Scrape(last).total(REQUESTS) == 800


def test_a_number_is_of_one_and_comes_without_what_another_was_at(tmp_path: Path) -> None:
    (tmp_path / GAUGE).touch()
    (tmp_path / "counter_0.db").touch()
    assert [taken_slot(tmp_path) for _ in range(3)] == [0, 1, 2]
    assert files(tmp_path) == ["0.lock", "1.lock", "2.lock", "counter_0.db"]


def test_the_state_of_the_living_is_left_alone_and_that_of_the_dead_is_not(tmp_path: Path) -> None:
    taken_slot(tmp_path)
    names = (GAUGE, "gauge_livesum_1.db", "counter_1.db", "1.lock")
    for name in names:
        (tmp_path / name).touch()
    for _ in range(2):
        forget_the_dead(tmp_path)
        assert files(tmp_path) == ["0.lock", "1.lock", "counter_1.db", GAUGE]
    assert taken_slot(tmp_path) == 1


def test_one_that_belongs_to_another_account_counts_as_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (GAUGE, "0.lock"):
        (tmp_path / name).touch()
    open_ = os.open

    def refuse(path: Path, *rest: int) -> int:
        if path.name == "0.lock":
            raise PermissionError
        return open_(path, *rest)

    monkeypatch.setattr(os, "open", refuse)
    forget_the_dead(tmp_path)
    assert taken_slot(tmp_path) == 1
    assert (tmp_path / GAUGE).exists()


def test_a_directory_that_is_not_ours_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(PermissionError):
        taken_slot(tmp_path)


def test_what_is_in_use_does_not_look_old_to_a_cleaner(tmp_path: Path) -> None:
    taken_slot(tmp_path)
    os.utime(tmp_path / "0.lock", (0, 0))
    forget_the_dead(tmp_path)
    assert (tmp_path / "0.lock").stat().st_mtime > 0
