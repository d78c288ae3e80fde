"""Processes that share metrics."""

import os
import subprocess
import sys
from pathlib import Path

from adapters.observability.metrics import MULTIPROC_DIR_VARIABLE

ROUTE = "/api/v1/users/{user_id}"
ROOT = Path(__file__).parents[2]

# Count some requests and leave one in flight. Then print the metrics of all processes, or wait for the end.
WORKER = f"""
import sys
from adapters.observability.metrics import Metrics, multiproc_dir

metrics = Metrics(version="1", rejections=frozenset({{"overloaded"}}), directory=multiproc_dir())
metrics.set_pool_source(lambda: (10, 3, 1))
for _ in range(int(sys.argv[1])):
    metrics.request_started()
    metrics.request_finished(route="{ROUTE}", method="GET", status=200, seconds=0.02, rejection="overloaded")
metrics.request_started()
metrics.set_purge_lag(float(sys.argv[1]))
metrics.refresh()
print("ready", flush=True)
if sys.stdin.readline() == "show\\n":
    sys.stdout.write(metrics.render().decode())
metrics.close()
"""


class Worker:
    """A process that shares a metrics directory."""

    def __init__(self, directory: Path, requests: int) -> None:
        self.process = subprocess.Popen(  # noqa: S603 - our own script
            [sys.executable, "-c", WORKER, str(requests)],
            env=os.environ | {MULTIPROC_DIR_VARIABLE: str(directory), "PYTHONPATH": str(ROOT)},
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def ready(self) -> "Worker":
        """Wait until its requests are counted."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        return self

    def ended(self, word: str = "quiet") -> str:
        """End it, and return the metrics if the word is `show`."""
        return self.process.communicate(f"{word}\n", timeout=30)[0]

    def killed(self) -> None:
        """Kill it, so that it cannot remove its gauges."""
        self.process.kill()
        self.process.communicate(timeout=30)
