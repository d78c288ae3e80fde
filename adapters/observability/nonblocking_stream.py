"""A text stream whose writers never block, even if its reader stalls."""

import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TextIO

MAX_BUFFERED_BYTES = 2 * 1024 * 1024
"""Buffered characters: about 6,000 log lines of requests. The thread can hold the same amount again."""
RETRY_INTERVAL_SECONDS = 0.01
"""The interval at which the thread writes. A wake-up per line would cost more than the line."""
MAX_DELAY_SECONDS = 0.2
"""How long a line waits that does not have to be written soon."""
MAX_DELAYED_BYTES = 64 * 1024
"""Buffered characters that are written without a delay: about 200 log lines of requests."""
FLUSH_TIMEOUT_SECONDS = 1.0
"""The time limit for writing the remaining output at exit."""


class NonBlockingStream:
    """Buffers lines, which a thread writes in order. Drops lines if the buffer is full.

    Lines to an in-memory stream are written directly. Errors of the stream are ignored.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.on_dropped: Callable[[int], object] | None = None
        """Called by the thread with the number of dropped lines, after the stream is writable again."""
        self._buffer: list[str] = []
        self._size = 0
        self._dropped = 0
        self._is_torn = False
        # Reentrant, because the garbage collector can run a finalizer that logs.
        self._lock = threading.RLock()
        self._wakeup: SimpleQueue[None] = SimpleQueue()
        self._is_awake = self._is_urgent = self._is_writing = False
        self._is_closed = False
        self._thread: threading.Thread | None = None
        if _has_file(stream):
            self._thread = threading.Thread(target=self._write_loop, name="lines", daemon=True)
            self._thread.start()

    def write(self, text: str, *, can_wait: bool = False) -> int:
        """Buffer a line with its line break, and return its length. With `can_wait`, write it with later lines."""
        if self._thread is None:
            self._write_directly(text)
            return len(text)
        with self._lock:
            if self._size + len(text) <= MAX_BUFFERED_BYTES or threading.current_thread() is self._thread:
                self._buffer.append(text)
                self._size += len(text)
            else:
                self._dropped += 1
        if not self._is_awake:
            self._is_awake = True
            self._wakeup.put(None)
        if not can_wait or self._size >= MAX_DELAYED_BYTES:
            self._end_delay()
        return len(text)

    def _end_delay(self) -> None:
        if not self._is_urgent:
            self._is_urgent = True
            self._wakeup.put(None)

    def flush(self) -> None:
        """Do nothing, because the thread writes all buffered lines."""

    def isatty(self) -> bool:
        """Return True if the stream is a terminal."""
        return self.stream is not None and not self.stream.closed and self.stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of the stream. Raises OSError or ValueError if it has no descriptor."""
        if self.stream is None:
            raise OSError("no stream")
        return self.stream.fileno()

    def drain(self, seconds: float) -> None:
        """Write all buffered lines, for at most this time."""
        due = time.monotonic() + seconds
        while self._thread is not None and (self._buffer or self._is_writing) and time.monotonic() < due:
            self._end_delay()
            time.sleep(RETRY_INTERVAL_SECONDS / 10)

    def close(self, seconds: float) -> None:
        """Write all buffered lines, for at most this time. Later lines are dropped."""
        if self._thread is not None:
            self._is_closed = self._is_urgent = True
            self._wakeup.put(None)
            self._wakeup.put(None)
            self._thread.join(seconds)

    def _write_directly(self, text: str) -> None:
        with suppress(OSError, ValueError):
            if self.stream is not None:
                self.stream.write(text)
                self.stream.flush()

    def _write_loop(self) -> None:
        while self._buffer or not self._is_closed:
            self._wakeup.get()
            with suppress(Empty):
                self._wakeup.get(timeout=MAX_DELAY_SECONDS)
            self._is_writing = True
            self._is_awake = self._is_urgent = False  # before the buffer is read, so that a later line sets them again
            for piece in self._chunks(self._take_buffer()):
                self._write_chunk(piece)
            self._is_writing = False
            time.sleep(RETRY_INTERVAL_SECONDS)

    def _take_buffer(self) -> Sequence[str]:
        with self._lock:
            taken, self._buffer, self._size = self._buffer, [], 0
        return taken

    def _chunks(self, lines: Sequence[str]) -> Iterator[bytes]:
        """Yield the lines in chunks of at most PIPE_BUF bytes, which other writers of a pipe cannot split."""
        text = "".join(lines).encode(self.encoding, "backslashreplace")
        start = 0
        while start < len(text):
            end = len(text)
            if end - start > select.PIPE_BUF:
                # A longer line is a separate chunk.
                end = (text.rfind(b"\n", start, start + select.PIPE_BUF) + 1) or (text.find(b"\n", start) + 1) or end
            yield text[start:end]
            start = end

    def _write_chunk(self, piece: bytes) -> None:
        # Directly to the descriptor: the lock of the stream would block the exit of the process.
        left = b"\n" + piece if self._is_torn else piece
        size = len(left)
        try:
            while left:
                try:
                    left = left[os.write(self.fileno(), left) :]
                except BlockingIOError:  # a different process made the descriptor non-blocking
                    select.select([], [self.fileno()], [])
        except (OSError, ValueError):  # broken, closed, or the disk is full, which can be temporary
            self._is_torn = self._is_torn or len(left) < size
            with self._lock:
                self._dropped += piece[-len(left) :].count(b"\n")
            return
        self._is_torn = False
        self._report_dropped()

    def _report_dropped(self) -> None:
        with self._lock:
            lost, self._dropped = self._dropped, 0
        if lost and self.on_dropped is not None:
            self.on_dropped(lost)


def make_streams_nonblocking() -> None:
    """Make standard output and error non-blocking, so that a stalled terminal or log does not stop the service."""
    for name in ("stdout", "stderr"):
        setattr(sys, name, NonBlockingStream(getattr(sys, name)))


def discard_unwritten_output() -> None:
    """Write the buffered output for at most FLUSH_TIMEOUT_SECONDS, and discard the rest.

    Otherwise Python tries to write the rest at exit, and fails with status 120.
    """
    due = time.monotonic() + FLUSH_TIMEOUT_SECONDS
    for name in ("stdout", "stderr"):
        if isinstance(lines := getattr(sys, name), NonBlockingStream):
            lines.close(max(0.0, due - time.monotonic()))
            setattr(sys, name, lines.stream)
        try:
            getattr(sys, name).flush()
        except (AttributeError, OSError, ValueError):  # absent, broken or closed
            setattr(sys, name, None)


def _has_file(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() >= 0
    except (OSError, ValueError):  # in memory, or closed
        return False
