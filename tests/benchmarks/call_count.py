"""`python -m tests.benchmarks.call_count`: count the own files and functions that one warm request passes.

The application runs in process, with its HTTP protocol, over the server of DATABASE_URL or an embedded one. A profile
hook in the thread of the server records each call. The result is the intersection of several requests, because
background tasks run during some of them. Comprehensions are not counted: Python 3.12 and later inline them.
"""

import argparse
import asyncio
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import partial
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from types import CodeType, FrameType

from sqlalchemy import URL

from adapters.observability.logging import configure_logs
from adapters.server.uvicorn_server import Server, bound_sockets, create_server
from adapters.settings import Settings
from application.authorization import SYSTEM_PRINCIPAL
from domain.api_keys import Scope
from tests.support.benchmark_server import ROOT, benchmark_databases, install_shutdown_handler

OWN_DIRECTORIES = tuple(f"{ROOT / name}/" for name in ("domain", "application", "adapters"))
WARM_UP_REQUESTS = 5
COUNTED_REQUESTS = 5

Calls = set[tuple[str, str]]
"""The file and the name of each function that was called."""


def main() -> int:
    """Print the counts of both requests, and the functions with `--list`."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.call_count", description=main.__doc__)
    parser.add_argument("--list", action="store_true", help="list the functions")
    options = parser.parse_args()
    install_shutdown_handler()
    with (
        benchmark_databases("bench-postgres", _report) as databases,
        TemporaryDirectory() as directory,
        Path(directory, "log").open("w", encoding="utf-8") as log,
    ):
        database = databases.clone()
        configure_logs(level="info", log_format="json", stream=log)
        for name, calls in asyncio.run(count_calls(database, directory)).items():
            files = {path for path, _ in calls}
            sys.stdout.write(f"{name}: {len(files)} files, {len(calls)} functions\n")
            if options.list:
                sys.stdout.writelines(f"  {path}: {function}\n" for path, function in sorted(calls))
    return 0


async def count_calls(database: URL, directory: str) -> dict[str, Calls]:
    """Return the calls of each request."""
    settings = Settings(database_url=database, state_directory=Path(directory))
    with bound_sockets("127.0.0.1", 0) as sockets:
        started: asyncio.Queue[Server] = asyncio.Queue()
        serving = asyncio.create_task(create_server(settings, started.put).serve(list(sockets)))
        server = await started.get()
        container = server.container
        user = await container.users().create(SYSTEM_PRINCIPAL, email="ada@example.org")
        key = await container.api_keys().create(
            SYSTEM_PRINCIPAL, name="call count", scopes=frozenset(Scope), user_id=None, expires_at=None
        )
        headers = {"Authorization": f"Bearer {key.text}", "Content-Type": "application/json"}
        with closing(HTTPConnection(*sockets[0].getsockname())) as client:

            def get_user(_: int) -> None:
                _send(client, "GET", f"/api/v1/users/{user.id}", headers)

            def create_user(number: int) -> None:
                body = f'{{"email": "call-count-{number}@example.org", "full_name": "Ada Lovelace"}}'
                _send(client, "POST", "/api/v1/users", {**headers, "Idempotency-Key": f"call-count-{number}"}, body)

            counts = {"GET one user": await _calls(get_user), "POST with Idempotency-Key": await _calls(create_user)}
        server.should_exit = True
        await serving
        return counts


async def _calls(send: Callable[[int], None]) -> Calls:
    """Return the calls of one warm request, which a different thread sends."""
    for number in range(WARM_UP_REQUESTS):
        await asyncio.to_thread(send, number)
    counted = []
    for number in range(WARM_UP_REQUESTS, WARM_UP_REQUESTS + COUNTED_REQUESTS):
        codes: set[CodeType] = set()
        sys.setprofile(partial(_record, codes))
        try:
            await asyncio.to_thread(send, number)
        finally:
            sys.setprofile(None)
        counted.append({_name(code) for code in codes})
    return set.intersection(*counted)


def _record(codes: set[CodeType], frame: FrameType, event: str, _: object) -> None:
    code = frame.f_code
    if event == "call" and code.co_filename.startswith(OWN_DIRECTORIES) and not code.co_name.endswith("comp>"):
        codes.add(code)


def _name(code: CodeType) -> tuple[str, str]:
    return str(Path(code.co_filename).relative_to(ROOT)), f"{code.co_qualname}:{code.co_firstlineno}"


def _send(client: HTTPConnection, method: str, path: str, headers: Mapping[str, str], body: str | None = None) -> None:
    client.request(method, path, body, headers)
    response = client.getresponse()
    response.read()
    if response.status not in {HTTPStatus.OK, HTTPStatus.CREATED}:
        raise RuntimeError(f"{method} {path} returned status {response.status}")


def _report(line: str) -> None:
    sys.stderr.write(f"{line}\n")


if __name__ == "__main__":
    sys.exit(main())
