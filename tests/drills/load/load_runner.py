"""Control of the load generator process."""

import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from time import monotonic
from typing import IO

from tests.cli.support import ROOT
from tests.drills.load.load_job import Attempt, LoadJob
from tests.drills.scenario import ScenarioError

ENDLESS = 86_400.0
"""Seconds of a load that runs until `finish`."""
HANG_SECONDS = 900.0
STOP_SECONDS = 10
PIPE_BYTES = 1024 * 1024
"""Enough for the attempts of a second, so that the generator does not wait until this process reads them."""
Progress = Callable[[int, int], None]


class RunningLoad:
    """A running load. The list `attempts` grows while it runs."""

    def __init__(self, process: subprocess.Popen[bytes], stdin: IO[bytes], job: LoadJob, progress: Progress) -> None:
        self.attempts: list[Attempt] = []
        self._process = process
        self._stdin = stdin
        self._job = job
        self._progress = progress
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def finish(self) -> Sequence[Attempt]:
        """Stop the arrival of requests, and return all attempts after the last response."""
        self._stdin.close()
        return self.wait()

    def wait(self) -> Sequence[Attempt]:
        """Return all attempts after the end of the load. Raises ScenarioError if the load hangs or fails."""
        self.thread.join(HANG_SECONDS)
        if self.thread.is_alive():
            raise ScenarioError(f"the load has not ended after {HANG_SECONDS:g} s")
        if self._process.wait(STOP_SECONDS) != 0:
            raise ScenarioError("the load generator failed; its error is above")
        return self.attempts

    def check(self) -> None:
        if self._process.poll() is not None:
            raise ScenarioError("the load has ended too early")

    def _read(self) -> None:
        assert self._process.stdout is not None
        settled, begun = 0, monotonic()
        with suppress(EOFError, pickle.UnpicklingError):
            while True:
                attempts: list[Attempt] = pickle.load(self._process.stdout)  # noqa: S301 - from our own process
                self.attempts += attempts
                settled += sum(attempt.is_last for attempt in attempts)
                if not self._job.seconds:
                    self._progress(settled, len(self._job.operations))
                elif (passed := monotonic() - begun) < self._job.seconds:
                    self._progress(int(passed), int(self._job.seconds))


@contextmanager
def running_load(job: LoadJob, progress: Progress = lambda _done, _total: None) -> Iterator[RunningLoad]:
    """Run the load, and kill it at the end of the block.

    `progress` takes the number of operations, or of seconds if the job has them.
    """
    with subprocess.Popen(
        [sys.executable, "-m", "tests.drills.load"],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pipesize=PIPE_BYTES,
    ) as process:
        assert process.stdin is not None
        pickle.dump(job, process.stdin)
        process.stdin.flush()
        running = RunningLoad(process, process.stdin, job, progress)
        try:
            yield running
        finally:
            process.kill()
            running.thread.join(STOP_SECONDS)
            with suppress(BrokenPipeError):
                process.stdin.close()


def run_load(job: LoadJob, progress: Progress = lambda _done, _total: None) -> Sequence[Attempt]:
    with running_load(job, progress) as running:
        return running.wait()
