"""Messages and a progress bar on the terminal."""

import time
from typing import TextIO

BAR = 30
INTERVAL, SLOW_INTERVAL = 0.1, 10.0
"""Seconds between two updates on a terminal, and between two lines in a log."""


class Console:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()
        self._drawn = 0.0

    def say(self, line: str) -> None:
        self._write(f"drill: {line}\n")

    def begin(self, label: str) -> None:
        self._drawn = 0.0 if self._is_terminal else time.monotonic()
        self.say(label)

    def progress(self, done: int, total: int) -> None:
        now = time.monotonic()
        if done < total and now - self._drawn < (INTERVAL if self._is_terminal else SLOW_INTERVAL):
            return
        self._drawn = now
        filled = BAR * done // total
        bar = f"[{'#' * filled}{'.' * (BAR - filled)}] {done:,} of {total:,}"
        show = self._write if self._is_terminal else self.say
        show(bar)

    def _write(self, text: str) -> None:
        """Write in place of the progress bar."""
        self._stream.write("\r\033[K" * self._is_terminal + text)
        self._stream.flush()
