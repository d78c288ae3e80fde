"""The services that are compared, and how they are started and stopped."""

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from tests.benchmarks.cpu import group_cpu_seconds
from tests.benchmarks.deployment import POOL_SIZE, Deployment, last_lines, launch
from tests.benchmarks.errors import BenchmarkError
from tests.drills.faults.ports import free_port
from tests.drills.load.load_job import RequestSpec

HOST = "127.0.0.1"
START_SECONDS = 120
STOP_SECONDS = 15
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service: its letter in tables, its name, its command, and its own variables.

    The command is a function or the path of a program, with arguments. `{port}` is replaced by the port.
    """

    key: str
    name: str
    command: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=dict)


PORT = "--port={port}"
_SERVE = ("adapters.cli.main:main", "serve", PORT)
_POOL = {"HEXAPOST_DB_POOL_SIZE": str(POOL_SIZE)}
HEXAPOST = Service(key="h", name="Hexapost", command=_SERVE, variables=_POOL)
QUIET = Service(key="q", name="Hexapost, no log", command=_SERVE, variables=_POOL | {"HEXAPOST_LOG_LEVEL": "error"})
# Uvicorn with the options of `hexapost serve`, without an access log.
UVICORN_OPTIONS = (
    *("--loop=uvloop", "--http=httptools", "--ws=none", "--no-access-log", "--no-server-header"),
    *("--timeout-graceful-shutdown=2", "--timeout-keep-alive=75", PORT),
)
UVICORN = ("uvicorn:main", *UVICORN_OPTIONS)
RAW = Service(key="b", name="raw ASGI + asyncpg", command=(*UVICORN, "tests.benchmarks.baseline_raw_asgi:app"))
TEXTBOOK = Service(key="f", name="textbook FastAPI + ORM", command=(*UVICORN, "tests.benchmarks.baseline_fastapi:app"))
SERVICES = (HEXAPOST, RAW, TEXTBOOK, QUIET)
"""The first server is compared with each of the other servers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A running service, in a separate process group."""

    service: Service
    deployment: Deployment
    port: int
    process: subprocess.Popen[bytes]
    log: Path

    def cpu_seconds(self) -> float:
        """Return the CPU that it has used since it was started. Raises BenchmarkError when it runs no more."""
        if self.process.poll() is not None:
            raise BenchmarkError(f"{self.service.name} has ended:\n{self.last_words()}")
        return group_cpu_seconds(self.process.pid)

    def await_response(self) -> None:
        """Wait until the service responds. Raises BenchmarkError after a timeout, and if it has ended."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            self.cpu_seconds()
            with suppress(BenchmarkError):
                status, _ = self.ask(RequestSpec(method="GET", path="/livez"))
                if status == HTTPStatus.OK:
                    return
            if time.monotonic() > deadline:
                raise BenchmarkError(f"{self.service.name} did not start:\n{self.last_words()}")
            time.sleep(0.05)

    def ask(self, request: RequestSpec) -> tuple[int, bytes]:
        """Return the status and the body of the response to one request."""
        headers = {**self.deployment.headers, "Content-Type": "application/json", **request.headers}
        try:
            with closing(HTTPConnection(HOST, self.port, timeout=30)) as connection:
                connection.request(request.method, request.path, request.body, headers)
                response = connection.getresponse()
                return response.status, response.read()
        except (OSError, HTTPException) as error:
            raise BenchmarkError(f"{self.service.name} does not respond to {request.path}: {error!r}") from error

    def last_words(self) -> str:
        return last_lines(self.log.read_text(errors="replace"))


@contextmanager
def started(service: Service, deployment: Deployment) -> Iterator[Server]:
    """Yield the service as it starts, and stop it at the end."""
    port = free_port()
    log = deployment.directory / f"{service.key}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - the commands above
            launch(*(part.replace("{port}", str(port)) for part in service.command)),
            cwd=deployment.directory,
            env={**deployment.environment(), **service.variables},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            process_group=0,
        )
    try:
        yield Server(service=service, deployment=deployment, port=port, process=process, log=log)
    finally:
        try:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
        finally:
            with suppress(ProcessLookupError, PermissionError):  # PermissionError: macOS has it for a group of zombies
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def ready(services: Iterable[tuple[Service, Deployment]], report: Callable[[str], None]) -> Iterator[list[Server]]:
    """Yield the services as servers that answer, and stop them at the end. Raises BenchmarkError if one does not."""
    with ExitStack() as stack:
        servers = [stack.enter_context(started(service, deployment)) for service, deployment in services]
        for server in servers:
            server.await_response()
            report(f"{server.service.key}, {server.service.name}, is ready on port {server.port}")
        yield servers
