"""Tests for the comparison of acknowledged operations with stored rows."""

import json
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.drills.load.load_job import Attempt
from tests.drills.reconciliation import Reconciliation
from tests.drills.sample_attempts import GOOD, SILENT
from tests.drills.verifications import stored


def _written(name: str, id_: str) -> Attempt:
    return replace(GOOD, operation=name, headers={"location": f"/{id_}"}, body=json.dumps({"id": id_}))


@pytest.mark.parametrize(
    ("stored", "find"),
    [
        ({}, Reconciliation.lost),
        ({"a": ["1", "2"]}, Reconciliation.duplicates),
        ({"a": ["2"]}, Reconciliation.wrong_ids),
        ({"a": ["1"], "c": ["3"]}, Reconciliation.unexpected_rows),
        ({"a": ["1"]}, Reconciliation.unacknowledged),
    ],
)
def test_ledger_finds_wrong_rows(stored: dict[str, list[str]], find: Callable[..., list[str]]) -> None:
    ledger = Reconciliation.of([_written("a", "1"), replace(SILENT, operation="b")], stored)
    known = {"known": ["z"]} if find is Reconciliation.unexpected_rows else {}
    assert len(find(ledger, **known)) == 1
    right = Reconciliation.of([_written("a", "1")], {"a": ["1"], "z": ["9"]})
    assert find(right, **known) == []


@pytest.mark.parametrize("rows", [{}, {"drill 1": ["1"]}])
def test_ledger_accepts_an_unknown_write_stored_or_not(rows: dict[str, list[str]]) -> None:
    ledger = Reconciliation.of([SILENT], rows)
    assert not [*ledger.lost(), *ledger.duplicates(), *ledger.wrong_ids(), *ledger.unexpected_rows([])]


def test_ledger_check_fails_without_acknowledged_writes() -> None:
    written = _written("drill 1", "1")
    assert all(check.passed for check in stored(Reconciliation.of([written], {"drill 1": ["1"]}), known=[]))
    (lost,) = [check for check in stored(Reconciliation.of([SILENT], {}), known=[]) if not check.passed]
    assert lost.reason == "no request is acknowledged"
