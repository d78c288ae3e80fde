"""A service whose lines nobody reads, or not now, and what it says when somebody reads them again."""

import json
import os
import re
import select
import signal
import sys
from pathlib import Path

import pytest
import structlog
from sqlalchemy import URL

from adapters.cli import output
from adapters.telemetry.logs import configure_logs
from tests.cli.support import PATIENCE, fill, rendered, serving_unread, wait_until
from tests.drills.faults.processes import children


@pytest.mark.parametrize("workers", ["1", "2"])
def test_it_serves_and_ends_in_order(tmp_path: Path, scratch: URL, workers: str) -> None:
    with serving_unread(tmp_path, "--workers", workers, DATABASE_URL=rendered(scratch)) as (served, _):
        for _ in range(10):
            assert served.get("/livez").status == 200
        assert served.stop(signal.SIGTERM) == 0


def test_a_worker_is_replaced_all_the_same(tmp_path: Path, scratch: URL) -> None:
    with serving_unread(tmp_path, "--workers", "2", DATABASE_URL=rendered(scratch)) as (served, _):
        served.base_url()
        killed, left = children(served.process.pid)
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: set(children(served.process.pid)) - {killed, left})
        assert served.stop(signal.SIGTERM) == 0


def test_its_lines_are_there_when_they_are_read_again(tmp_path: Path, scratch: URL) -> None:
    with serving_unread(tmp_path, DATABASE_URL=rendered(scratch)) as (served, reader):
        sent = [served.get("/livez").headers["X-Request-ID"] for _ in range(10)]
        text = b""
        while text.count(sent[-1].encode()) == 0:
            assert select.select([reader], [], [], PATIENCE)[0]
            text += os.read(reader, 65536)
        assert [json.loads(line)["request_id"] for line in text.split()] == sent
        assert served.stop(signal.SIGTERM) == 0


def test_what_is_said_does_not_wait_nor_does_the_end_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "END_SECONDS", 0.05)
    reader, writer = os.pipe()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        fill(writer)
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, stream)
        output.never_wait()
        output.report("begun")
        output.complain("not ended")
        output.let_go()
        assert (sys.stdout, sys.stderr) == (stream, stream)
        os.close(reader)


@pytest.mark.usefixtures("restored_logs")
def test_what_is_said_before_the_end_comes_out_in_order(capfd: pytest.CaptureFixture[str]) -> None:
    output.never_wait()
    configure_logs(level="info", log_format="json")
    output.report("begun")
    for number in range(10):
        structlog.get_logger().info("event", status=number)
        output.complain(f"complaint {number}")
        output.remark(f"remark {number}")
    output.let_go()
    printed = capfd.readouterr()
    assert printed.out == "hexapost: begun\n"
    words = [re.sub(r'.*"status":(\d).*', r"event \1", line) for line in printed.err.splitlines()]
    said = ("event", "hexapost: complaint", "hexapost: remark")
    assert words == [f"{word} {number}" for number in range(10) for word in said]
