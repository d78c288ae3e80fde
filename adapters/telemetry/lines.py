"""Lines for somebody who reads them, or not: whoever writes one does not wait for that."""

import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from queue import SimpleQueue
from typing import TextIO

MOST_WAITING = 2 * 1024 * 1024
"""Characters that may wait, as many again being on their way out: some 6,000 lines of requests, or seconds of them."""
PAUSE_SECONDS = 0.01
"""Between two looks of the thread: to be woken for each line would cost more than the line."""


class Lines:
    """Takes lines for a stream; a thread writes them, in order, and a line is lost when too many wait.

    What goes to a stream in memory is written at once. A line that was not taken, or is for a stream that is closed or
    broken, fails nobody.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.encoding = getattr(stream, "encoding", None) or "utf-8"
        self.when_lost: Callable[[int], object] | None = None
        """Called by the thread with the number of lines that were lost, as soon as others can be written again."""
        self._waiting: list[str] = []
        self._size = 0
        self._lost = 0
        self._is_torn = False
        # Both may be entered again by the same thread: the garbage collector may run, and what it ends may log.
        self._lock = threading.RLock()
        self._bell: SimpleQueue[None] = SimpleQueue()
        self._has_rung = False
        self._has_ended = False
        self._thread: threading.Thread | None = None
        if _has_file(stream):
            self._thread = threading.Thread(target=self._write_for_ever, name="lines", daemon=True)
            self._thread.start()

    def write(self, text: str) -> int:
        """Take a line, with its end; return its length."""
        if self._thread is None:
            self._write_at_once(text)
            return len(text)
        with self._lock:
            if self._size + len(text) <= MOST_WAITING or threading.current_thread() is self._thread:
                self._waiting.append(text)
                self._size += len(text)
            else:
                self._lost += 1
        if not self._has_rung:
            self._has_rung = True
            self._bell.put(None)
        return len(text)

    def flush(self) -> None:
        """Do nothing: what was taken is on its way."""

    def isatty(self) -> bool:
        """Return whether a person reads it."""
        return self.stream is not None and not self.stream.closed and self.stream.isatty()

    def fileno(self) -> int:
        """Return the descriptor of the stream. Raises OSError or ValueError when it has none."""
        if self.stream is None:
            raise OSError("there is no stream")
        return self.stream.fileno()

    def end(self, seconds: float) -> None:
        """Wait until all is written, for at most so long; what comes later is lost."""
        if self._thread is not None:
            self._has_ended = True
            self._bell.put(None)
            self._thread.join(seconds)

    def _write_at_once(self, text: str) -> None:
        with suppress(OSError, ValueError):
            if self.stream is not None:
                self.stream.write(text)
                self.stream.flush()

    def _write_for_ever(self) -> None:
        while self._waiting or not self._has_ended:
            self._bell.get()
            self._has_rung = False  # before the look: a line that comes after it rings again
            for piece in self._pieces(self._taken()):
                self._write_out(piece)
            time.sleep(PAUSE_SECONDS)

    def _taken(self) -> Sequence[str]:
        with self._lock:
            taken, self._waiting, self._size = self._waiting, [], 0
        return taken

    def _pieces(self, lines: Sequence[str]) -> Iterator[bytes]:
        """Yield them put together, as many as a pipe takes at once: others write to it, too, and not into our lines."""
        piece = b""
        for line in lines:
            text = line.encode(self.encoding, "backslashreplace")
            if piece and len(piece) + len(text) > select.PIPE_BUF:
                yield piece
                piece = b""
            piece += text
        if piece:
            yield piece

    def _write_out(self, piece: bytes) -> None:
        # Not by the stream, which would be locked meanwhile: a process could not end.
        left = b"\n" + piece if self._is_torn else piece
        whole = len(left)
        try:
            while left:
                try:
                    left = left[os.write(self.fileno(), left) :]
                except BlockingIOError:  # somebody else has made it so
                    select.select([], [self.fileno()], [])
        except (OSError, ValueError):  # it is broken or closed, or the disk is full, which may pass
            self._is_torn = self._is_torn or len(left) < whole
            with self._lock:
                self._lost += piece[-len(left) :].count(b"\n")
            return
        self._is_torn = False
        self._tell()

    def _tell(self) -> None:
        with self._lock:
            lost, self._lost = self._lost, 0
        if lost and self.when_lost is not None:
            self.when_lost(lost)


def _has_file(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.fileno() >= 0
    except (OSError, ValueError):  # it is in memory, or closed
        return False
