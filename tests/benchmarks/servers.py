"""The services that are compared, and how they are started and stopped."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.benchmarks.access import AUTHORIZATION, SETTINGS
from tests.benchmarks.cpu import group_cpu_seconds
from tests.benchmarks.database import BenchDatabase
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.workloads import Request

HOST = "127.0.0.1"
POOL_SIZE = 10
START_SECONDS = 60
STOP_SECONDS = 15
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service: its letter in tables, its name, the module that serves it, with arguments, and its own variables."""

    key: str
    name: str
    module: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


_SERVE = ("adapters.cli.main", "serve", "--exit-with-parent", str(os.getpid()))
HEXAPOST = Service(key="h", name="Hexapost", module=_SERVE)
QUIET = Service(key="q", name="Hexapost, no log", module=_SERVE, variables={"HEXAPOST_LOG_LEVEL": "error"})
RAW = Service(
    key="b", name="raw ASGI + asyncpg", module=("tests.benchmarks.serving", "tests.benchmarks.baseline_raw_asgi:app")
)
TEXTBOOK = Service(
    key="f", name="textbook FastAPI + ORM", module=("tests.benchmarks.serving", "tests.benchmarks.baseline_fastapi:app")
)
SERVICES = (HEXAPOST, RAW, TEXTBOOK, QUIET)
"""The first one is compared with each of the others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A service that runs, in a process group of its own."""

    service: Service
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def cpu_seconds(self) -> float:
        """Return the CPU that it has used since it was started. Raises BenchmarkError when it runs no more."""
        if self.process.poll() is not None:
            raise BenchmarkError(f"{self.service.name} has ended:\n{self.last_words()}")
        return group_cpu_seconds(self.process.pid)

    def await_answer(self) -> None:
        """Return when it answers. Raises BenchmarkError when it does not in time, or has ended."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.cpu_seconds()
            with suppress(BenchmarkError):
                status, _ = self.ask(Request(method="GET", path="/livez"))
                if status == HTTPStatus.OK:
                    return
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.service.name} did not start:\n{self.last_words()}")
            time.sleep(0.05)

    def ask(self, request: Request) -> tuple[int, bytes]:
        """Return the status and the body of the answer to one request."""
        connection = HTTPConnection(HOST, self.port, timeout=30)
        try:
            headers = {"authorization": AUTHORIZATION} | ({"content-type": "application/json"} if request.body else {})
            connection.request(request.method, request.path, request.body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, HTTPException) as error:
            raise BenchmarkError(f"{self.service.name} does not answer {request.path}: {error!r}") from error
        finally:
            connection.close()

    def last_words(self) -> str:
        """Return the end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-20:])


@contextmanager
def started(service: Service, database: BenchDatabase, directory: Path) -> Iterator[Server]:
    """Yield the service as it starts, and stop it at the end; its log and its state go to the directory."""
    port = _free_port()
    log = directory / f"{service.key}.log"
    command = [sys.executable, "-m", *service.module, "--port", str(port)]
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the commands above
            command,
            cwd=ROOT,
            env={**_environment(database, directory), **service.variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    try:
        yield Server(service=service, port=port, process=process, log=log)
    finally:
        _stop(process)


def _environment(database: BenchDatabase, directory: Path) -> Mapping[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HEXAPOST_")}
    return inherited | {
        "DATABASE_URL": database.url,
        "DATABASE_DSN": database.dsn,
        "HEXAPOST_DB_POOL_SIZE": str(POOL_SIZE),
        **SETTINGS,
        "HEXAPOST_STATE_DIRECTORY": str(directory / "state"),
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the process and whatever it has started."""
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    finally:
        with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS has it for a group of zombies
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
