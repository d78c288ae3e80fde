"""Free ports."""

import random
import socket
from contextlib import suppress

from tests.drills.faults.proxy import HOST

LOWEST, HIGHEST = 15_000, 32_000
"""Below the ephemeral ports of the system, so that no other process gets the port before it is used."""


def free_port() -> int:
    chance = random.SystemRandom()
    while True:
        port = chance.randint(LOWEST, HIGHEST)
        with suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
