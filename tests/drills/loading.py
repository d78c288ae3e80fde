"""The load as the drill sees it: a process, and what it has told so far."""

import json
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict

from tests.cli.support import ROOT
from tests.drills.drill import DrillError, Mark
from tests.drills.load import Attempt, Job

STOP_SECONDS = 10


class RunningLoad:
    """A load that runs; `attempts` grows meanwhile."""

    def __init__(self, process: subprocess.Popen[str], progress: Callable[[int], None]) -> None:
        self.attempts: list[Attempt] = []
        self._process = process
        self._progress = progress
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self, seconds: float) -> Sequence[Attempt]:
        """Return all attempts when the load has ended. Raises DrillError when it does not in time, or fails."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise DrillError(f"the load has not ended after {seconds:g} s")
        if self._process.wait(STOP_SECONDS) != 0:
            raise DrillError("the load has failed; its words are above")
        return self.attempts

    def stop(self) -> None:
        """End the process and the thread."""
        self._process.kill()
        self._thread.join(STOP_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        settled = 0
        for line in self._process.stdout:
            attempt = Attempt(**json.loads(line))
            self.attempts.append(attempt)
            settled += attempt.is_last
            self._progress(settled)


@contextmanager
def loading(job: Job, progress: Callable[[int, int], None] | None = None) -> Iterator[RunningLoad]:
    """Run the load, and kill it at the end of the block if it is still there."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.drills.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        with process.stdin:
            process.stdin.write(json.dumps(asdict(job)))
        total = len(job.operations)
        running = RunningLoad(process, (lambda done: progress(done, total)) if progress else _ignore)
        try:
            yield running
        finally:
            running.stop()


def loaded(job: Job, *, seconds: float, progress: Callable[[int, int], None] | None = None) -> Sequence[Attempt]:
    """Run the load to its end."""
    with loading(job, progress) as running:
        return running.wait(seconds)


def samples(attempts: Sequence[Attempt]) -> list[tuple[float, float]]:
    """Return when each acknowledged operation was due, since the first one was, and how long it took from then on."""
    start = min((attempt.due for attempt in attempts), default=0.0)
    return [(last.due - start, last.done - last.due) for last in attempts if last.is_last and last.status]


def whole(attempts: Sequence[Attempt], label: str) -> Mark:
    """Return the mark of a fault that lasts as long as the load."""
    start = min(attempt.due for attempt in attempts)
    return Mark(label=label, start=0.0, end=max(attempt.done for attempt in attempts) - start)


def _ignore(_settled: int) -> None:
    """Nobody looks."""
