"""Notifications of systemd about the state of the service (sd_notify(3))."""

import os
import socket
import time
from contextlib import suppress


def notify_ready() -> None:
    """Report that the service is ready, also after a rolling restart."""
    _notify("READY=1")


def notify_reloading() -> None:
    """Report the start of a rolling restart."""
    _notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def _notify(state: str) -> None:
    """Send a state to systemd if it started this process. The service continues if that fails."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if address.startswith("@"):  # a name in the abstract namespace
        address = f"\0{address[1:]}"
    if address:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender, suppress(OSError):
            sender.sendto(state.encode(), address)
