"""What is told of an error at the start or the end of the service: of which kind it is, and where it came from."""

import gc
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import make_url

from adapters.cli.serving.server import Server, made_server
from adapters.postgres.database import Database
from adapters.postgres.readiness import Watch
from adapters.settings import Settings
from adapters.telemetry.logs import configure_logs
from tests.http.support import serving

NOWHERE = make_url("postgresql+asyncpg://localhost/nowhere")
SECRET = "permission denied for table s3cret\nDETAIL: s3cret"  # noqa: S105 - what a database might say

pytestmark = pytest.mark.usefixtures("restored_logs", "_with_garbage_collected")


@pytest.fixture
def _with_garbage_collected() -> Iterator[None]:
    yield
    gc.unfreeze()


async def _nothing(_: object) -> None:
    """Be well."""


async def _failing(_: object) -> None:
    raise RuntimeError(SECRET) from ValueError(SECRET)


async def _stop(server: Server) -> None:
    server.should_exit = True


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("fails", ["start", "end"])
def test_neither_its_words_nor_a_traceback_of_them_are_written_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_format: Literal["json", "console"], fails: str
) -> None:
    monkeypatch.setattr(Watch, "look", _failing if fails == "start" else _nothing)
    monkeypatch.setattr(Database, "close", _failing if fails == "end" else _nothing)
    stream = io.StringIO()
    configure_logs(level="debug", log_format=log_format, stream=stream)
    server = made_server(Settings(database_url=NOWHERE, port=0, state_directory=tmp_path), _stop)
    assert server.serve_until_told() == (1 if fails == "start" else 0)
    said = stream.getvalue()
    assert "s3cret" not in said
    assert "permission" not in said
    assert "Traceback" not in said
    told, *more = said.splitlines()
    assert f"service {'cannot start' if fails == 'start' else 'has not ended in order'}" in told
    assert "builtins.RuntimeError from builtins.ValueError" in said
    assert "Exiting" in more[-1]
    if log_format == "json":
        assert json.loads(told)["traceback"][-1].endswith("_failing")


async def test_an_error_of_those_who_use_the_application_is_theirs() -> None:
    with pytest.raises(KeyError):
        async with serving():
            raise KeyError
