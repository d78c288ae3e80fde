"""Free ports."""

import random
import socket
from contextlib import suppress

from tests.drills.faults.proxy import HOST

LOWEST, HIGHEST = 15_000, 32_000
"""Below those that systems give to who asks for any: what is free then stays free while nobody listens yet."""


def free_port() -> int:
    """Return a port that nobody listens on."""
    chance = random.SystemRandom()
    while True:
        port = chance.randint(LOWEST, HIGHEST)
        with suppress(OSError), socket.socket() as probe:
            probe.bind((HOST, port))
            return port
