"""The load as the drill sees it: a process, and what it has told so far."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic

from tests.cli.support import ROOT
from tests.drills.drill import DrillError, Mark
from tests.drills.load.exchange import ACKNOWLEDGED, CANCELLED, MISTAKEN
from tests.drills.load.jobs import Attempt, Job

STOP_SECONDS = 10
Progress = Callable[[int, int], None]


class RunningLoad:
    """A load that runs; `attempts` grows meanwhile."""

    def __init__(self, process: subprocess.Popen[str], job: Job, progress: Progress | None) -> None:
        self.attempts: list[Attempt] = []
        self._process = process
        self._job = job
        self._progress = progress or _ignore
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def finish(self, seconds: float) -> Sequence[Attempt]:
        """Have no more requests arrive, and return all attempts when the last is settled, as `wait` does."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self.wait(seconds)

    def wait(self, seconds: float) -> Sequence[Attempt]:
        """Return all attempts when the load has ended. Raises DrillError when it does not in time, or fails."""
        self._thread.join(seconds)
        if self._thread.is_alive():
            raise DrillError(f"the load has not ended after {seconds:g} s")
        if self._process.wait(STOP_SECONDS) != 0:
            raise DrillError("the load has failed; its words are above")
        return self.attempts

    def check(self) -> None:
        """Raise DrillError when the load has ended by itself."""
        if self._process.poll() is not None:
            raise DrillError("the load has ended too early")

    def stop(self) -> None:
        """End the process and the thread."""
        self._process.kill()
        self._thread.join(STOP_SECONDS)

    def _read(self) -> None:
        assert self._process.stdout is not None
        settled, begun = 0, monotonic()
        for line in self._process.stdout:
            attempt = Attempt.parsed(line)
            self.attempts.append(attempt)
            settled += attempt.is_last
            if not self._job.seconds:
                self._progress(settled, len(self._job.operations))
            elif (passed := monotonic() - begun) < self._job.seconds:
                self._progress(int(passed), int(self._job.seconds))


@contextmanager
def loading(job: Job, progress: Progress | None = None) -> Iterator[RunningLoad]:
    """Run the load, and kill it at the end of the block if it is still there.

    The progress is of operations, or of seconds where the load lasts that long.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "tests.drills.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        process.stdin.write(job.line())
        process.stdin.flush()
        running = RunningLoad(process, job, progress)
        try:
            yield running
        finally:
            running.stop()
            with suppress(BrokenPipeError):
                process.stdin.close()


def loaded(job: Job, *, seconds: float, progress: Progress | None = None) -> Sequence[Attempt]:
    """Run the load to its end."""
    with loading(job, progress) as running:
        return running.wait(seconds)


def samples(attempts: Sequence[Attempt]) -> list[tuple[float, float]]:
    """Return when each acknowledged operation was due, since the first one was, and how long it took from then on."""
    start = beginning(attempts)
    return [
        (last.due - start, last.done - last.due)
        for last in attempts
        if last.is_last and last.outcome in {ACKNOWLEDGED, MISTAKEN}
    ]


def refusals(attempts: Sequence[Attempt]) -> list[float]:
    """Return when each other operation was due, but for those whose clients wanted no answer."""
    start = beginning(attempts)
    return [
        last.due - start
        for last in attempts
        if last.is_last and last.outcome not in {ACKNOWLEDGED, MISTAKEN, CANCELLED}
    ]


def beginning(attempts: Sequence[Attempt]) -> float:
    """Return when the first operation was due."""
    return min((attempt.due for attempt in attempts), default=0.0)


def whole(attempts: Sequence[Attempt], label: str) -> Mark:
    """Return the mark of a fault that lasts as long as the load."""
    start = beginning(attempts)
    return Mark(label=label, start=0.0, end=max(attempt.done for attempt in attempts) - start)


def _ignore(_done: int, _total: int) -> None:
    """Nobody looks."""
