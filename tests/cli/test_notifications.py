"""Tests for the notifications of systemd by `hexapost serve`."""

import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.server.systemd import notify_ready, notify_reloading
from adapters.testing.template_databases import Databases
from tests.cli.support import PATIENCE, rendered, serving, wait_until

NOTIFY_SOCKET = "NOTIFY_SOCKET"


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as receiver:
        receiver.settimeout(PATIENCE)
        yield receiver


def receive(receiver: socket.socket) -> dict[str, str]:
    """Wait for a notification and return its variables."""
    return dict(line.split("=") for line in receiver.recv(4096).decode().splitlines())


@pytest.mark.parametrize("workers", ["1", "2"])
def test_serve_notifies_systemd_when_ready(
    receiver: socket.socket, databases: Databases, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: str
) -> None:
    monkeypatch.chdir(tmp_path)  # an absolute path can be too long for a socket
    receiver.bind("notify")
    url = databases.clone()
    with serving(tmp_path, "--workers", workers, DATABASE_URL=rendered(url), NOTIFY_SOCKET="notify") as served:
        assert receive(receiver) == {"READY": "1"}
        assert served.get("/readyz").status == 200
        if workers == "2":
            served.process.send_signal(signal.SIGHUP)
            assert list(receive(receiver)) == ["RELOADING", "MONOTONIC_USEC"]
            assert receive(receiver) == {"READY": "1"}
            wait_until(lambda: served.events("rolling restart finished"))
        assert served.stop(signal.SIGTERM) == 0
    databases.drop(url)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has abstract sockets")
def test_notification_reaches_abstract_socket(receiver: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    receiver.bind("")  # the kernel chooses a name in the abstract namespace
    monkeypatch.setenv(NOTIFY_SOCKET, f"@{receiver.getsockname()[1:].decode()}")
    before = time.monotonic_ns() // 1000
    notify_reloading()
    assert before <= int(receive(receiver)["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000


def test_notification_without_receiver_has_no_effect(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(NOTIFY_SOCKET, str(tmp_path / "missing"))
    notify_ready()
    monkeypatch.delenv(NOTIFY_SOCKET)
    notify_ready()
