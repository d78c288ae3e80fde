"""As much of PostgreSQL's protocol (version 3.0) as it takes to ask one question over a unix socket."""

import socket
import struct
from pathlib import Path

PROTOCOL = 196608  # 3.0


class ServerError(Exception):
    """The server answered with an error; `sqlstate` is its code."""

    def __init__(self, sqlstate: str, message: str) -> None:
        """Keep the code apart from the text."""
        super().__init__(message)
        self.sqlstate = sqlstate


def execute(path: Path, *, user: str, database: str, statement: str) -> None:
    """Connect to the server at the socket `path` and runs `statement`, whose result is not read.

    Raises ServerError for an error of the server, OSError when there is no server or it hangs up.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(30)
        connection.connect(str(path))
        names = f"user\0{user}\0database\0{database}\0application_name\0hexapost keeper\0\0"
        _send(connection, b"", struct.pack("!I", PROTOCOL) + names.encode())
        _await_ready(connection)
        _send(connection, b"Q", statement.encode() + b"\0")
        _await_ready(connection)
        _send(connection, b"X", b"")


def _send(connection: socket.socket, kind: bytes, body: bytes) -> None:
    connection.sendall(kind + struct.pack("!I", len(body) + 4) + body)


def _await_ready(connection: socket.socket) -> None:
    """Read until the server is ready for a query."""
    while True:
        kind, length = struct.unpack("!cI", _read(connection, 5))
        body = _read(connection, length - 4)
        if kind == b"E":
            fields = {field[:1]: field[1:].decode(errors="replace") for field in body.split(b"\0") if field}
            raise ServerError(fields.get(b"C", ""), fields.get(b"M", ""))
        if kind == b"R" and body[:4] != bytes(4):
            raise ServerError("28000", "the server wants a password")
        if kind == b"Z":
            return


def _read(connection: socket.socket, count: int) -> bytes:
    read = b""
    while len(read) < count:
        if not (chunk := connection.recv(count - len(read))):
            raise ConnectionResetError("the server hung up")
        read += chunk
    return read
