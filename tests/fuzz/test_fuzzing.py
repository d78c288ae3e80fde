"""Tests for responses to requests that are derived from the OpenAPI document."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.fuzz.fuzzing import fuzz

MIN_CASES = 2000
MIN_SCENARIOS = 10


@pytest.mark.timeout(900)
def test_fuzz_cases_get_documented_responses(tmp_path: Path, scratch: URL) -> None:
    fuzzed = fuzz(tmp_path, scratch, cases=MIN_CASES, seed=1, show=len)
    assert fuzzed.passed, fuzzed.output
    assert fuzzed.cases >= MIN_CASES, fuzzed.output
    assert fuzzed.scenarios >= MIN_SCENARIOS, fuzzed.output
