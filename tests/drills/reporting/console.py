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
        self._bar = ""

    def say(self, line: str) -> None:
        self._write("\r\033[K" * bool(self._bar) + f"drill: {line}\n" + self._bar)

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
        if self._is_terminal:
            self._bar = bar
            self._write(f"\r\033[K{bar}")
        else:
            self.say(bar)

    def end(self) -> None:
        self._write("\n" * bool(self._bar))
        self._bar = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
