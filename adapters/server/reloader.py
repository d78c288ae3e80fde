"""Serves the application during development: a new process replaces it after a change of a Python file."""

import socket
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from uvicorn.supervisors import ChangeReload

from adapters.server.uvicorn_server import DRAIN_TIMEOUT_SECONDS

_ROOT = Path(__file__).parents[2]
_PACKAGES = ("domain", "application", "adapters")


def serve_with_reload(sockets: Sequence[socket.socket]) -> None:
    """Serve the application of this environment on the sockets, until SIGINT or SIGTERM."""
    config = uvicorn.Config(
        "adapters.asgi:create_app",
        factory=True,
        reload=True,
        # Not the whole project: .venv has 10,000 Python files.
        reload_dirs=[str(_ROOT / package) for package in _PACKAGES],
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_TIMEOUT_SECONDS,
    )
    ChangeReload(config, target=uvicorn.Server(config).run, sockets=list(sockets)).run()
