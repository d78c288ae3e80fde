"""The drills in short, the proof that each can fail, and the command that carries them out."""

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pytest
from sqlalchemy import URL

from tests.drills import __main__ as command
from tests.drills.drill import Check, Drill, DrillError, Mark, Outcome, Size, Stage, expect
from tests.drills.exactly_once import EXACTLY_ONCE, run
from tests.drills.ledger import Ledger
from tests.drills.load.exchange import ACKNOWLEDGED, UNKNOWN
from tests.drills.load.jobs import Attempt
from tests.drills.registry import DRILLS
from tests.support.databases import Databases
from tests.support.stores import DRIVERS

SEED = "1"
pytestmark = [
    pytest.mark.xdist_group("drills"),  # one after the other, and other tests meanwhile
    pytest.mark.timeout(1200),  # with the drills of other runs, for which each has to wait
]


@pytest.fixture
def stage(alone: None, scratch: URL, driver: str, tmp_path: Path) -> Stage:  # noqa: ARG001 - it waits
    return Stage(
        database=scratch,
        driver=driver,
        directory=tmp_path,
        size=EXACTLY_ONCE.quick,
        seed=SEED,
        say=lambda _line: None,
        progress=lambda _done, _total: None,
    )


def _broken(outcome: Outcome) -> dict[str, str]:
    return {check.claim: check.reason for check in outcome.checks if not check.passed}


SPEED = {"overload", "steady-load"}
"""What tells how fast the machine is, which no test may depend on: `make drill` and `make prove` carry these out."""
ONE_DRIVER = {"rolling-restart", "service-killed"}
"""What does not depend on the driver; `make prove` carries these out over both all the same."""


def _in_short() -> Iterator[object]:
    for name in DRILLS.keys() - SPEED:
        for driver in DRIVERS[:1] if name in ONE_DRIVER else DRIVERS:
            yield pytest.param(name, driver, id=f"{name}-{driver}")


@pytest.mark.parametrize(("name", "driver"), sorted(_in_short(), key=str))
def test_a_drill_passes(stage: Stage, name: str, driver: str) -> None:
    drill = DRILLS[name]
    assert _broken(drill.run(replace(stage, size=drill.quick, driver=driver))) == {}


def test_without_keys_writes_happen_twice(stage: Stage) -> None:
    broken = _broken(run(stage, with_keys=False))
    assert "drill" in broken["nothing is stored twice"]
    assert "is no replay" in broken["a repeated request has the same answer"]
    assert "connections to the service are cut" not in broken


def _attempt(name: str, outcome: str, id_: str = "") -> Attempt:
    return Attempt(
        operation=name,
        number=1,
        due=0.0,
        sent=0.0,
        done=1.0,
        outcome=outcome,
        status=201 if id_ else 0,
        headers={"location": f"/api/v1/posts/{id_}"},
        body=json.dumps({"id": id_}),
        is_last=True,
    )


@pytest.mark.parametrize(
    ("stored", "find"),
    [
        ({}, Ledger.lost),
        ({"a": ["1", "2"]}, Ledger.duplicates),
        ({"a": ["2"]}, Ledger.misnamed),
        ({"a": ["1"], "c": ["3"]}, Ledger.strangers),
        ({"a": ["1"]}, Ledger.unacknowledged),
    ],
)
def test_the_ledger_tells_what_is_wrong(stored: dict[str, list[str]], find: Callable[..., list[str]]) -> None:
    ledger = Ledger.of([_attempt("a", ACKNOWLEDGED, "1"), _attempt("b", UNKNOWN)], stored)
    known = {"known": ["z"]} if find is Ledger.strangers else {}
    assert len(find(ledger, **known)) == 1
    right = Ledger.of([_attempt("a", ACKNOWLEDGED, "1")], {"a": ["1"], "z": ["9"]})
    assert find(right, **known) == []


def test_what_is_unknown_may_be_stored_or_not() -> None:
    for stored in ({}, {"b": ["1"]}):
        ledger = Ledger.of([_attempt("b", UNKNOWN)], stored)
        assert not [*ledger.lost(), *ledger.duplicates(), *ledger.misnamed(), *ledger.strangers([])]


def test_only_so_many_reasons_are_shown() -> None:
    assert expect("c", "f", ["a", "b", "c", "d", "e"]).reason == "a; b; c; and 2 more"
    assert expect("c", "f", []).passed
    assert expect("c", "f", True).passed
    assert not expect("c", "f", False).passed


@pytest.fixture
def planted(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> Callable[[Outcome], None]:
    """Have the command know one drill, with that outcome."""
    monkeypatch.setenv("DATABASE_URL", databases.url.render_as_string(hide_password=False))
    monkeypatch.setattr(command, "end_in_order", lambda: None)

    def plant(outcome: Outcome) -> None:
        def run_(stage: Stage) -> Outcome:
            stage.progress(stage.size.requests, stage.size.requests)
            return outcome

        drill = Drill(name="planted", claim="<It>.", run=run_, full=Size(requests=9), quick=Size(requests=3))
        monkeypatch.setattr(command, "DRILLS", MappingProxyType({"planted": drill}))

    return plant


GOOD = Check(claim="it holds", figure="0 <lost>")
BAD = Check(claim="it does not", figure="1 lost", reason="row 7 is lost")


@pytest.mark.parametrize(("checks", "status"), [([GOOD], 0), ([GOOD, BAD], 1)])
def test_the_command_ends_with_1_when_a_claim_does_not_hold(
    planted: Callable[[Outcome], None], checks: list[Check], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    planted(Outcome(checks=checks))
    assert command.main(["planted", "--quick", "--driver", "asyncpg"]) == status
    printed = capsys.readouterr()
    assert "[##############################] 3 of 3" in printed.err
    assert "| planted | asyncpg | it holds" in printed.out
    assert ("NOT it does not: row 7 is lost" in printed.out) == bool(status)


def test_a_drill_that_cannot_be_carried_out_has_failed(
    planted: Callable[[Outcome], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(stage: Stage) -> Outcome:
        (stage.directory / "output").write_text("its last words")
        raise DrillError("the load has failed")

    planted(Outcome(checks=[GOOD]))
    drill = Drill(name="planted", claim="It.", run=fail, full=Size(), quick=Size())
    monkeypatch.setattr(command, "DRILLS", MappingProxyType({"planted": drill}))
    assert command.main(["all", "--driver", "asyncpg", "--output", str(tmp_path)]) == 1
    assert "DrillError: the load has failed" in (tmp_path / "index.html").read_text()
    assert (tmp_path / "planted-asyncpg.log").read_text() == "its last words"


def test_all_of_them_are_written_to_a_page_that_stands_by_itself(
    planted: Callable[[Outcome], None], tmp_path: Path
) -> None:
    mark = Mark(label="<cut>", start=2.0, end=2.0)
    samples = [(number / 10, 0.001 * (number % 7 + 1)) for number in range(100)]
    planted(Outcome(checks=[GOOD, BAD], samples=samples, marks=[mark, mark], refusals=[2.0, 2.5]))
    assert command.main(["all", "--output", str(tmp_path)]) == 1
    page = (tmp_path / "index.html").read_text()
    assert page.count("<svg") == 4
    assert "not answered with 2xx: 2" in page
    assert "&lt;cut&gt; (2 times)" in page
    assert "0 &lt;lost&gt;" in page
    assert "row 7 is lost" in page
    assert not [word for word in ("href=", "src=", "url(", "@import") if word in page]
    for picture in page.split("<svg")[1:]:
        ET.fromstring("<svg" + picture.partition("</svg>")[0] + "</svg>")  # noqa: S314 - our own


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nix"], "there is no drill 'nix'; there are steady-load, overload"),
        (["exactly-once", "--requests", "0"], "at least 2"),
    ],
)
def test_what_the_command_does_not_understand_is_named(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        command.main(arguments)
    assert words in capsys.readouterr().err
