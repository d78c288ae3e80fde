"""What is told while a drill runs: lines, and a bar that moves on a terminal."""

import time
from typing import TextIO

BAR = 30
INTERVAL = 0.1
SLOW_INTERVAL = 10.0
"""Seconds between two lines where the bar cannot move, as in a log."""


class Screen:
    """Writes to a stream for people."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._drawn = 0.0
        self._bar = ""

    def say(self, line: str) -> None:
        """Write a line; the bar stays below it."""
        bar, self._bar = self._bar, ""
        self._write("\r\033[K" * bool(bar) + f"drill: {line}\n" + bar)
        self._bar = bar

    def begin(self, label: str) -> None:
        """Say what is done from now on."""
        self._drawn = 0.0 if self._stream.isatty() else time.monotonic()
        self.say(label)

    def progress(self, done: int, total: int) -> None:
        """Show how much of it is done."""
        now = time.monotonic()
        moves = self._stream.isatty()
        if done < total and now - self._drawn < (INTERVAL if moves else SLOW_INTERVAL):
            return
        self._drawn = now
        filled = BAR * done // total
        words = f"[{'#' * filled}{'.' * (BAR - filled)}] {done:,} of {total:,}"
        if moves:
            self._bar = words
            self._write(f"\r\033[K{words}")
        else:
            self.say(words)

    def end(self) -> None:
        """Close the bar."""
        if self._bar:
            self._write("\n")
        self._bar = ""

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()
