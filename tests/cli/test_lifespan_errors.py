"""Tests for errors when the service starts or ends."""

import gc
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
from sqlalchemy import make_url

from adapters.observability.logging import configure_logs
from adapters.postgres.pool import Database
from adapters.postgres.schema.readiness import ReadinessMonitor
from adapters.server.uvicorn_server import Server, create_server
from adapters.settings import Settings
from tests.http.support import serving

NOWHERE = make_url("postgresql+asyncpg://localhost/nowhere")
SECRET = "permission denied for table s3cret\nDETAIL: s3cret"  # noqa: S105 - a message of a database

pytestmark = pytest.mark.usefixtures("restored_logs", "_with_garbage_collected")


@pytest.fixture
def _with_garbage_collected() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)


async def _succeed(_: object) -> None:
    """Do nothing."""


async def _fail(_: object) -> None:
    raise RuntimeError(SECRET) from ValueError(SECRET)


async def _stop(server: Server) -> None:
    server.should_exit = True


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("phase", ["start", "end"])
def test_lifespan_error_is_logged_without_message_or_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log_format: Literal["json", "console"], phase: str
) -> None:
    monkeypatch.setattr(ReadinessMonitor, "check", _fail if phase == "start" else _succeed)
    monkeypatch.setattr(Database, "close", _fail if phase == "end" else _succeed)
    stream = io.StringIO()
    configure_logs(level="debug", log_format=log_format, stream=stream)
    server = create_server(Settings(database_url=NOWHERE, port=0, state_directory=tmp_path), _stop)
    assert server.serve_until_signal() == (1 if phase == "start" else 0)
    log = stream.getvalue()
    assert "s3cret" not in log
    assert "permission" not in log
    assert "Traceback" not in log
    first, *more = log.splitlines()
    assert f"{'startup' if phase == 'start' else 'shutdown'} failed" in first
    assert "builtins.RuntimeError from builtins.ValueError" in log
    assert "Exiting" in more[-1]
    if log_format == "json":
        assert json.loads(first)["traceback"][-1].endswith("_fail")


async def test_error_of_the_embedding_application_propagates() -> None:
    with pytest.raises(KeyError):
        async with serving():
            raise KeyError
