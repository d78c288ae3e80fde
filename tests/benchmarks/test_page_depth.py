"""Tests for the comparison of a late page with the first one."""

import re
from uuid import UUID

import pytest

from adapters.testing.template_databases import Databases
from tests.benchmarks import page_depth
from tests.benchmarks.page_depth import path_of, service


def test_page_depth_follows_cursors_to_the_page(databases: Databases) -> None:
    with service(databases.empty(), posts=90) as get_page:
        page = get_page(path_of(4, get_page))
    assert [UUID(post["id"]).int >> 80 for post in page["items"]] == list(range(30, 10, -1))


def test_page_depth_prints_medians_and_ratio(
    databases: Databases, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATABASE_URL", databases.url.render_as_string(hide_password=False))
    monkeypatch.setattr(page_depth, "install_shutdown_handler", lambda: None)
    page_depth.main(posts=60, page=3, requests=2)
    found = re.fullmatch(r"page 1: (\S+) ms, page 3: (\S+) ms, ratio (\S+)\n", capsys.readouterr().out)
    assert found is not None
    first, deep, ratio = map(float, found.groups())
    assert ratio == pytest.approx(deep / first, rel=0.05)
