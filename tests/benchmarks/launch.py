"""Run a function as a program that ends with its parent (Linux): `python -P launch.py MODULE:FUNCTION ARGUMENT...`.

The path of a program can replace the function.

Run it by its path and with `-P`: PYTHONPATH alone then decides which source tree is imported.
"""

import ctypes
import importlib
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> object:
    """Call the function. It reads its arguments from `sys.argv`, as the entry point of a command does."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        if os.getppid() != parent:  # it ended before the call
            return 1
    if os.sep in sys.argv[1]:
        os.execv(sys.argv[1], sys.argv[1:])  # noqa: S606 - a command of the benchmark; the request to the kernel remains
    module, _, function = sys.argv.pop(1).partition(":")
    return getattr(importlib.import_module(module), function)()


if __name__ == "__main__":
    sys.exit(main())  # type: ignore[arg-type]
