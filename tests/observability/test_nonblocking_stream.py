"""Tests for the stream that never blocks the writer."""

import errno
import io
import json
import os
import select
import threading
from collections.abc import Iterator
from typing import TextIO

import pytest
import structlog

from adapters.observability.logging import configure_logs
from adapters.observability.nonblocking_stream import MAX_BUFFERED_BYTES, NonBlockingStream
from tests.support.polling import TIMEOUT_SECONDS

LINE = "x" * 999 + "\n"
WHOLE = select.PIPE_BUF


class Pipe:
    """A pipe that is read on request."""

    def __init__(self) -> None:
        self._reader, writer = os.pipe()
        self.stream: TextIO = os.fdopen(writer, "w", encoding="utf-8")

    def read(self, end: str) -> str:
        """Read until the text ends with `end`, and return it."""
        text = b""
        while not text.endswith(end.encode()):
            assert select.select([self._reader], [], [], TIMEOUT_SECONDS)[0], "nothing was written"
            text += os.read(self._reader, 65536)
        return text.decode()

    def close(self, *, reader: bool = True, writer: bool = True) -> None:
        """Close one end or both."""
        if reader:
            os.close(self._reader)
        if writer:
            self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.fixture
def lines(pipe: Pipe) -> Iterator[NonBlockingStream]:
    made = NonBlockingStream(pipe.stream)
    yield made
    made.close(TIMEOUT_SECONDS)


def test_stream_writes_lines_in_order(pipe: Pipe, lines: NonBlockingStream) -> None:
    for number in range(1000):
        assert lines.write(f"{number}\n") == len(f"{number}\n")
    assert pipe.read("999\n").split() == [str(number) for number in range(1000)]


def test_stream_drops_and_counts_lines_when_buffer_is_full(pipe: Pipe, lines: NonBlockingStream) -> None:
    dropped: list[int] = []
    lines.on_dropped = dropped.append
    total = 4 * MAX_BUFFERED_BYTES // len(LINE)
    for number in range(total):
        lines.write(f"{number:999}\n")
    numbers: list[int] = []
    while len(numbers) + sum(dropped) < total:
        numbers += map(int, pipe.read("\n").splitlines())
    assert len(numbers) + sum(dropped) == total
    assert numbers == sorted(numbers)
    assert MAX_BUFFERED_BYTES // len(LINE) <= len(numbers) < 3 * MAX_BUFFERED_BYTES // len(LINE)
    lines.write("as before\n")
    assert pipe.read("\n") == "as before\n"


def test_log_reports_dropped_lines(pipe: Pipe, restored_logs: None) -> None:  # noqa: ARG001 - it restores the log
    configure_logs(level="info", log_format="json", stream=pipe.stream)
    total = 4 * MAX_BUFFERED_BYTES // len(LINE)
    for _ in range(total):
        structlog.get_logger().info("request", route=LINE)
    requests = lost = 0
    while requests + lost < total:
        for line in map(json.loads, pipe.read("\n").splitlines()):
            if "dropped_lines" in line:
                assert (line["event"], line["level"]) == ("log lines dropped", "error")
                lost += line["dropped_lines"]
            else:
                requests += 1
    assert requests + lost == total
    assert lost > 0


def test_stream_batches_whole_lines(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[bytes] = []

    def write(descriptor: int, data: bytes) -> int:
        assert descriptor == pipe.stream.fileno()
        written.append(data)
        return len(data)

    texts = [*(f"{number:99}\n" for number in range(500)), "ü" * WHOLE + "\n", "short\n"]
    lines = NonBlockingStream(pipe.stream)
    monkeypatch.setattr(os, "write", write)
    for text in texts:
        lines.write(text)
    lines.close(TIMEOUT_SECONDS)
    assert b"".join(written) == "".join(texts).encode()
    assert len(written) < len(texts) / 5
    assert all(piece.endswith(b"\n") for piece in written)
    assert all(len(piece) <= WHOLE or piece.count(b"\n") == 1 for piece in written)


def test_stream_writes_all_to_nonblocking_descriptor(pipe: Pipe) -> None:
    os.set_blocking(pipe.stream.fileno(), False)
    lines = NonBlockingStream(pipe.stream)
    for number in range(1000):
        lines.write(f"{number:999}\n")
    assert [int(number) for number in pipe.read("999\n").splitlines()] == list(range(1000))
    lines.close(TIMEOUT_SECONDS)


def test_stream_end_waits_for_buffered_lines_with_a_timeout(pipe: Pipe) -> None:
    lines = NonBlockingStream(pipe.stream)
    lines.write("the last\n")
    lines.close(TIMEOUT_SECONDS)
    assert pipe.read("\n") == "the last\n"

    unread = NonBlockingStream(pipe.stream)
    for number in range(1000):
        unread.write(f"{number:999}\n")
    unread.close(0.01)
    assert len(pipe.read("999\n").splitlines()) == 1000
    unread.close(TIMEOUT_SECONDS)


@pytest.mark.parametrize("end", ["reader", "writer"])
def test_closed_pipe_drops_lines_without_error(end: str) -> None:
    pipe = Pipe()
    lines = NonBlockingStream(pipe.stream)
    pipe.close(reader=end == "reader", writer=end == "writer")
    for _ in range(3):
        lines.write(LINE)
    lines.close(TIMEOUT_SECONDS)
    pipe.close(reader=end == "writer", writer=end == "reader")


def test_missing_stream_has_no_descriptor() -> None:
    lines = NonBlockingStream(None)
    assert lines.write(LINE) == len(LINE)
    assert not lines.isatty()
    with pytest.raises(OSError, match="no stream"):
        lines.fileno()


def test_stream_in_memory_is_written_at_once() -> None:
    stream = io.StringIO()
    NonBlockingStream(stream).write(LINE)
    assert stream.getvalue() == LINE


def test_full_disk_drops_and_counts_whole_lines(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    write, room = os.write, [LINE.encode()[:400], b"", b""]
    is_full = threading.Event()

    def fill(descriptor: int, data: bytes) -> int:
        if not room:
            return write(descriptor, data)
        taken = room.pop(0)
        if not room:
            is_full.set()
        if not taken:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(descriptor, taken)

    dropped: list[int] = []
    lines = NonBlockingStream(pipe.stream)
    lines.on_dropped = dropped.append
    monkeypatch.setattr(os, "write", fill)
    lines.write(LINE)
    while not is_full.is_set():
        lines.write("lost\n")
        is_full.wait(0.01)
    lines.write("as before\n")
    lines.close(TIMEOUT_SECONDS)
    cut, *rest = pipe.read("as before\n").splitlines()
    assert (cut, rest[-1]) == (LINE[:400], "as before")
    assert set(rest[:-1]) <= {"lost"}
    assert sum(dropped) >= 2
