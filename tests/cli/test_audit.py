"""Tests for `hexapost audit`."""

import pytest
from sqlalchemy import URL

from tests.cli.conftest import CREATE, Hexapost
from tests.cli.support import rendered

HEADER = "created_at\toperation\tsubject_kind\tsubject_id\tactor_kind\tactor_id\trequest_id\tchanged_fields"


def test_audit_list_prints_entries_newest_first(hexapost: Hexapost, database: URL) -> None:
    url = rendered(database)
    for _ in range(3):
        assert hexapost("keys", *CREATE, DATABASE_URL=url).status == 0
    listed = hexapost("audit", "list", DATABASE_URL=url)
    assert listed.status == 0
    header, *lines = [line.split("\t") for line in listed.stdout.splitlines()]
    assert "\t".join(header).startswith(HEADER)
    assert [(line[1], line[2], *line[4:]) for line in lines] == [
        ("created", "api_key", "operator", "-", "-", "-", "-", "-")
    ] * 3
    assert [line[0] for line in lines] == sorted([line[0] for line in lines], reverse=True)
    newest = hexapost("audit", "list", "--limit", "1", DATABASE_URL=url)
    assert newest.stdout.splitlines()[1:] == listed.stdout.splitlines()[1:2]
    one = hexapost("audit", "list", "--subject-id", lines[1][3], DATABASE_URL=url)
    assert one.stdout.splitlines()[1:] == listed.stdout.splitlines()[2:3]
    by_key = hexapost("audit", "list", "--actor-id", lines[1][3], DATABASE_URL=url)
    assert len(by_key.stdout.splitlines()) == 1


def test_audit_list_reads_several_pages(hexapost: Hexapost, database: URL, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("adapters.cli.audit.PAGE_SIZE", 2)
    url = rendered(database)
    for _ in range(5):
        hexapost("keys", *CREATE, DATABASE_URL=url)
    sizes = [
        len(hexapost("audit", "list", *arguments, DATABASE_URL=url).stdout.splitlines()) - 1
        for arguments in (["--limit", "3"], ["--limit", "99"])
    ]
    assert sizes == [3, 5]
