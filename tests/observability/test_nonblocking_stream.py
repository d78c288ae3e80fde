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

from adapters.observability import nonblocking_stream
from adapters.observability.logging import configure_logs
from adapters.observability.nonblocking_stream import MAX_BUFFERED_BYTES, MAX_DELAYED_BYTES, NonBlockingStream
from tests.support.polling import TIMEOUT_SECONDS

LINE = "x" * 999 + "\n"
WHOLE = select.PIPE_BUF


class Pipe:
    """A pipe that is read on request."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.stream: TextIO = os.fdopen(writer, "w", encoding="utf-8")

    def read(self, end: str) -> str:
        """Read until the text ends with `end`, and return it."""
        text = b""
        while not text.endswith(end.encode()):
            assert select.select([self.reader], [], [], TIMEOUT_SECONDS)[0], "nothing was written"
            text += os.read(self.reader, 65536)
        return text.decode()

    def close(self, *, reader: bool = True, writer: bool = True) -> None:
        """Close one end or both."""
        if reader:
            os.close(self.reader)
        if writer:
            self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


@pytest.mark.parametrize("is_blocking", [True, False])
def test_stream_writes_lines_in_order(pipe: Pipe, is_blocking: bool) -> None:
    os.set_blocking(pipe.stream.fileno(), is_blocking)
    lines = NonBlockingStream(pipe.stream)
    for number in range(1000):
        assert lines.write(f"{number:999}\n") == len(LINE)
    assert [int(number) for number in pipe.read("999\n").splitlines()] == list(range(1000))
    lines.close(TIMEOUT_SECONDS)


def test_log_drops_and_counts_lines_when_buffer_is_full(pipe: Pipe, restored_logs: None) -> None:  # noqa: ARG001
    configure_logs(level="info", log_format="json", stream=pipe.stream)
    total = 4 * MAX_BUFFERED_BYTES // len(LINE)
    for number in range(total):
        structlog.get_logger().info("request", route=LINE, status=number)
    numbers: list[int] = []
    lost = 0
    while len(numbers) + lost < total:
        for line in map(json.loads, pipe.read("\n").splitlines()):
            if line["event"] == "request":
                numbers.append(line["status"])
            else:
                assert (line["event"], line["level"]) == ("log lines dropped", "error")
                lost += line["dropped_lines"]
    assert len(numbers) + lost == total
    assert numbers == sorted(numbers)
    assert total / 8 < len(numbers) < 3 * total / 4
    structlog.get_logger().info("as before")
    assert json.loads(pipe.read("\n"))["event"] == "as before"


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


def test_lines_that_can_wait_are_written_together_in_order(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonblocking_stream, "MAX_DELAY_SECONDS", TIMEOUT_SECONDS * 10)
    lines = NonBlockingStream(pipe.stream)
    lines.write("one\n", can_wait=True)
    lines.write("two\n", can_wait=True)
    assert not select.select([pipe.reader], [], [], 0.05)[0]
    lines.write("urgent\n")
    assert pipe.read("urgent\n") == "one\ntwo\nurgent\n"
    for _ in range(MAX_DELAYED_BYTES // len(LINE) + 1):
        lines.write(LINE, can_wait=True)
    assert len(pipe.read("x\n")) >= len(LINE)
    lines.write("the last\n", can_wait=True)
    lines.close(TIMEOUT_SECONDS)
    assert pipe.read("the last\n").endswith(LINE + "the last\n")


def test_drain_writes_waiting_lines_with_a_timeout(pipe: Pipe, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nonblocking_stream, "MAX_DELAY_SECONDS", TIMEOUT_SECONDS * 10)
    lines = NonBlockingStream(pipe.stream)
    lines.write("one\n", can_wait=True)
    lines.drain(TIMEOUT_SECONDS)
    assert select.select([pipe.reader], [], [], 0)[0]
    assert pipe.read("\n") == "one\n"
    for _ in range(1000):
        lines.write(LINE, can_wait=True)
    lines.write("the last\n", can_wait=True)
    lines.drain(0.01)  # the pipe is full
    assert pipe.read("the last\n").count(LINE) == 1000
    lines.close(TIMEOUT_SECONDS)


def test_lines_that_can_wait_are_written_after_the_delay(pipe: Pipe) -> None:
    lines = NonBlockingStream(pipe.stream)
    for number in range(3):
        lines.write(f"{number}\n", can_wait=True)
        assert pipe.read("\n") == f"{number}\n"
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


def test_stream_without_a_descriptor_writes_at_once_or_drops() -> None:
    memory = io.StringIO()
    NonBlockingStream(memory).write(LINE)
    assert memory.getvalue() == LINE
    missing = NonBlockingStream(None)
    assert missing.write(LINE) == len(LINE)
    assert not missing.isatty()
    with pytest.raises(OSError, match="no stream"):
        missing.fileno()


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
