"""Tests for the count of functions per request."""

from pathlib import Path

import pytest
from sqlalchemy import URL

from tests.benchmarks.call_count import count_calls


@pytest.mark.usefixtures("restored_logs")
async def test_call_count_contains_router_and_repository_functions(scratch: URL, tmp_path: Path) -> None:
    counts = await count_calls(scratch, str(tmp_path))
    get, post = counts.values()
    assert {name.partition(":")[0] for _, name in get} >= {
        "get_user",
        "UserService.get",
        "SqlAlchemyUserRepository.get",
    }
    assert "AesGcmSeal.seal" in {name.partition(":")[0] for _, name in post - get}
    assert all(path.startswith(("domain/", "application/", "adapters/")) for path, _ in get | post)
