"""Tests for the short forms of the drills."""

from dataclasses import replace

import pytest

from tests.drills.exactly_once import EXACTLY_ONCE, run
from tests.drills.registry import DRILLS
from tests.drills.scenario import ScenarioContext, ScenarioResult
from tests.support.database_fixture import DRIVERS

OTHER_TEST = {"migrations"}
"""Drills with a test in test_migrations_drill.py."""


def broken(outcome: ScenarioResult) -> dict[str, str]:
    return {check.claim: check.reason for check in outcome.checks if not check.passed}


@pytest.mark.parametrize(
    ("name", "driver"),
    [(name, driver) for name in sorted(DRILLS.keys() - OTHER_TEST) for driver in DRILLS[name].drivers],
)
def test_drill_passes(stage: ScenarioContext, name: str) -> None:
    drill = DRILLS[name]
    assert broken(drill.run(replace(stage, size=drill.quick))) == {}


@pytest.mark.parametrize("driver", DRIVERS[:1])
def test_exactly_once_drill_fails_without_keys(stage: ScenarioContext) -> None:
    found = broken(run(replace(stage, size=replace(EXACTLY_ONCE.quick, requests=600)), with_keys=False))
    assert "drill" in found.get("no write is stored twice", ""), found
    assert "is no replay" in found["a repeated request gets the same response"]
    assert "connections to the service are cut" not in found


def test_drill_directories_have_the_marker(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("drill")
