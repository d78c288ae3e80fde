"""Runs a yardstick under uvicorn, set as `hexapost serve` sets it: `python -m tests.benchmarks.serving MODULE:APP`."""

import argparse
import ctypes
import os
import signal
import sys

import uvicorn

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> None:
    """Serve until told to stop, or until the process that started this one ends (Linux)."""
    parser = argparse.ArgumentParser()
    parser.add_argument("app")
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the kernel knew
            return
    uvicorn.run(
        options.app,
        host="127.0.0.1",
        port=options.port,
        loop="uvloop",
        http="httptools",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=2,
    )


if __name__ == "__main__":
    main()
