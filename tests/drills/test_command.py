"""Tests for `python -m tests.drills`."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.database_url import DRIVERS
from adapters.testing.template_databases import Databases
from tests.drills import __main__ as command
from tests.drills.load.http_connection import CANCELLED, REFUSED, UNKNOWN
from tests.drills.sample_attempts import attempt
from tests.drills.scenario import (
    FaultWindow,
    Scenario,
    ScenarioContext,
    ScenarioError,
    ScenarioResult,
    ScenarioSize,
    Verification,
)

Plant = Callable[[Callable[[ScenarioContext], ScenarioResult]], None]
GOOD = Verification("it holds", "0 <lost>")
KEY = Verification("it counts", "5 writes", is_key=True)
BAD = Verification("it does not", "1 lost", "row 7 is lost")


@pytest.fixture
def plant(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """Replace all drills by one with the given function."""
    monkeypatch.setenv("DATABASE_URL", databases.url.render_as_string(hide_password=False))
    monkeypatch.setattr(command, "install_shutdown_handler", lambda: None)

    def plant(run: Callable[[ScenarioContext], ScenarioResult]) -> None:
        drill = Scenario(
            name="planted",
            claim="<It>.",
            run=run,
            full=ScenarioSize(requests=9),
            quick=ScenarioSize(requests=3),
            drivers=DRIVERS,
        )
        monkeypatch.setattr(command, "DRILLS", {"planted": drill})

    return plant


@pytest.mark.parametrize(("checks", "status"), [([GOOD], 0), ([GOOD, BAD], 1)])
def test_drill_command_exits_with_1_for_a_failed_claim(
    plant: Plant, checks: list[Verification], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(stage: ScenarioContext) -> ScenarioResult:
        stage.progress(stage.size.requests, stage.size.requests)
        return ScenarioResult(checks)

    plant(run)
    assert command.main(["planted", "--quick", "--driver", "asyncpg"]) == status
    printed = capsys.readouterr()
    assert "[##############################] 3 of 3" in printed.err
    assert "| planted | asyncpg | it holds" in printed.out
    assert ("NOT it does not: row 7 is lost" in printed.out) == bool(status)
    assert "psycopg" not in printed.out


def test_drill_command_reports_an_error_as_a_failed_claim(plant: Plant, tmp_path: Path) -> None:
    def fail(stage: ScenarioContext) -> ScenarioResult:
        (stage.directory / "output").write_text("last lines")
        raise ScenarioError("the load has failed")

    plant(fail)
    assert command.main(["all", "--driver", "asyncpg", "--output", str(tmp_path)]) == 1
    assert "ScenarioError: the load has failed" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "planted-asyncpg.log").read_text() == "last lines"


def test_drill_report_is_a_self_contained_page(plant: Plant, tmp_path: Path) -> None:
    attempts = [attempt(100 + number / 10, 0.001 * (number % 7 + 1)) for number in range(100)]
    failed = [attempt(102, outcome=REFUSED), attempt(102.5, outcome=UNKNOWN), attempt(103, outcome=CANCELLED)]
    plant(lambda _: ScenarioResult([GOOD, KEY, BAD], [*attempts, *failed], [FaultWindow("<cut>", 102.0, 112.0)] * 2))
    assert command.main(["all", "--output", str(tmp_path)]) == 1
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") == 2 * len(DRIVERS)
    guarantees, _, details = page.partition("<section")
    for words in ("not answered with 2xx: 2", ">12 s<", "&lt;cut&gt; (2 times)", "0 &lt;lost&gt;", "row 7 is lost"):
        assert words in details
    for words in ("without a fault: ", "during a fault: ", "<details open>"):
        assert words in details
    assert all(words in guarantees for words in ("&lt;It&gt;.", "it counts: 5 writes", "it does not: 1 lost"))
    assert "it holds" not in guarantees
    assert not re.findall(r'href="[^#]|src=|url\(|@import', page)
    for picture in page.split("<svg")[1:]:
        ET.fromstring("<svg" + picture.partition("</svg>")[0] + "</svg>")  # noqa: S314 - our own


@pytest.mark.parametrize(
    ("arguments", "words"),
    [(["nix"], "steady-load"), (["exactly-once", "--requests", "0"], "at least 2")],
)
def test_drill_command_names_an_invalid_argument(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert words in capsys.readouterr().err
