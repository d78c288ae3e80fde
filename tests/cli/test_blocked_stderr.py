"""Tests for output that is not read."""

import os
import re
import signal
import sys
from pathlib import Path

import pytest
import structlog
from sqlalchemy import URL

from adapters.cli import console
from adapters.observability import nonblocking_stream
from adapters.observability.logging import configure_logs
from tests.cli.support import blocked_pipe, rendered, serving_with_stderr, wait_until
from tests.drills.faults.processes import children


def test_output_to_blocked_pipe_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonblocking_stream, "FLUSH_TIMEOUT_SECONDS", 0.05)
    with blocked_pipe() as (reader, writer), os.fdopen(os.dup(writer), "w", encoding="utf-8") as stream:
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, stream)
        nonblocking_stream.make_streams_nonblocking()
        console.print_status("begun")
        console.print_error("not ended")
        nonblocking_stream.discard_unwritten_output()
        assert (sys.stdout, sys.stderr) == (stream, stream)
        os.close(reader)


@pytest.mark.usefixtures("restored_logs")
def test_output_and_log_lines_keep_their_order(capfd: pytest.CaptureFixture[str]) -> None:
    nonblocking_stream.make_streams_nonblocking()
    configure_logs(level="info", log_format="json")
    console.print_status("begun")
    for number in range(10):
        structlog.get_logger().info("event", status=number)
        console.print_error(f"complaint {number}")
        console.print_status_to_stderr(f"remark {number}")
    nonblocking_stream.discard_unwritten_output()
    printed = capfd.readouterr()
    assert printed.out == "hexapost: begun\n"
    lines = [re.sub(r'.*"status":(\d).*', r"event \1", line) for line in printed.err.splitlines()]
    kinds = ("event", "hexapost: complaint", "hexapost: remark")
    assert lines == [f"{kind} {number}" for number in range(10) for kind in kinds]


@pytest.mark.drill
@pytest.mark.parametrize("closed", [False, True], ids=["full", "closed"])
def test_workers_are_replaced_while_stderr_is_unusable(tmp_path: Path, scratch: URL, closed: bool) -> None:
    with (
        blocked_pipe() as (reader, writer),
        serving_with_stderr(writer, tmp_path, "--workers", "2", DATABASE_URL=rendered(scratch)) as served,
    ):
        os.close(writer)
        served.base_url()
        if closed:
            os.close(reader)
        before = set(children(served.process.pid))
        os.kill(before.pop(), signal.SIGKILL)
        wait_until(lambda: set(children(served.process.pid)) - before)
        assert served.get("/livez").status == 200
        assert served.stop(signal.SIGTERM) == 0
