"""Enough of PostgreSQL's protocol, version 3, to tell where an effect is stored.

Documentation of PostgreSQL, chapter "Frontend/Backend Protocol": a message is a type of one byte and a length of four,
which counts itself; only what a connection begins with has no type. COPY, replication and TLS are not known here.
"""

import re
import struct
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

TLS_REQUEST = 80877103
GSSAPI_REQUEST = 80877104
CANCEL_REQUEST = 80877102
REFUSED = b"N"
"""The answer of a server that encrypts nothing."""

_OPENING = struct.Struct("!ii")
_HEAD = struct.Struct("!ci")
_COMMIT = re.compile(rb"\s*(?:COMMIT|END)\b", re.IGNORECASE)
_CHANGE = re.compile(rb"\b(?:INSERT|UPDATE|DELETE|MERGE)\b", re.IGNORECASE)
_CHANGED = re.compile(rb"(?:INSERT \d+|UPDATE|DELETE|MERGE) [1-9]")
_ROWS = re.compile(rb"SELECT [1-9]")


@dataclass(frozen=True, slots=True)
class Message:
    """A message of either side; `raw` is all of it, `body` what follows the length."""

    type: bytes
    raw: bytes

    @property
    def body(self) -> bytes:
        """What the message says."""
        return self.raw[_HEAD.size :]


class Messages:
    """Puts messages together out of what arrives."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that these bytes complete."""
        self._buffer += data
        while len(self._buffer) >= _HEAD.size:
            type_, length = _HEAD.unpack_from(self._buffer)
            raw = self._buffer[: length + 1]
            if len(raw) <= length:
                return
            self._buffer = self._buffer[len(raw) :]
            yield Message(type_, raw)


def opening(head: bytes) -> tuple[int, int]:
    """Return how many bytes are missing of what a connection begins with, after its first eight, and its code."""
    length, code = _OPENING.unpack(head)
    return length - _OPENING.size, code


@dataclass(slots=True)
class _Batch:
    """What is sent up to a point where the server says ReadyForQuery, and what it answered."""

    commits: bool = False
    changes: bool = False
    stored: bool = False
    failed: bool = False

    def add(self, statement: bytes) -> None:
        """Take note of a statement."""
        self.commits = self.commits or any(_COMMIT.match(part) for part in statement.split(b";"))
        self.changes = self.changes or _CHANGE.search(statement) is not None


@dataclass(slots=True)
class Conversation:
    """What the two sides of one connection have said to each other."""

    status: bytes = b"I"
    """I outside a transaction, T in one, E in one that failed: of the last ReadyForQuery."""
    _batch: _Batch = field(default_factory=_Batch)
    _sent: deque[_Batch] = field(default_factory=deque)
    _statements: dict[bytes, bytes] = field(default_factory=dict)

    def asks_to_store(self, message: Message) -> bool:
        """Take a message of the client's; tell whether it ends a batch whose effect would be stored by itself."""
        match message.type:
            case b"P":
                name, statement, _ = message.body.split(b"\0", 2)
                self._statements[name] = statement
            case b"B":
                _, name, _ = message.body.split(b"\0", 2)
                self._batch.add(self._statements.get(name, b""))
            case b"Q":
                self._batch.add(message.body)
        if message.type not in {b"Q", b"S"}:
            return False
        batch, self._batch = self._batch, _Batch()
        self._sent.append(batch)
        return batch.commits or (self.status == b"I" and batch.changes)

    def has_stored(self, message: Message) -> bool:
        """Take a message of the server's; tell whether it is the ReadyForQuery of a batch whose effect is stored.

        A statement outside a transaction is committed after its CommandComplete and before ReadyForQuery.
        """
        batch = self._sent[0] if self._sent else _Batch()
        match message.type:
            case b"C":
                tag = message.body.rstrip(b"\0")
                in_a_query = batch.changes and _ROWS.match(tag) is not None  # WITH … AS (INSERT …) SELECT
                by_itself = self.status == b"I" and (in_a_query or _CHANGED.match(tag) is not None)
                batch.stored = batch.stored or tag == b"COMMIT" or by_itself
            case b"E":
                batch.failed = True
            case b"Z":
                self.status = message.body
                if self._sent:
                    self._sent.popleft()
                return batch.stored and self.status == b"I" and not batch.failed
        return False
