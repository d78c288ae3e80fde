"""Secrets that are made once and kept in the state directory when the environment gives none."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adapters.settings import SHORTEST_SECRET, Settings
from application.credentials import Peppers


def cursor_secret(settings: Settings) -> bytes:
    """Return the key that signs cursors."""
    if settings.cursor_secret is not None:
        return settings.cursor_secret.get_secret_value()
    return kept(settings.state_directory / "cursor.secret")


def key_peppers(settings: Settings) -> Peppers:
    """Return the secrets that key the hashes of API keys; one that is made and kept here is version 1."""
    if settings.key_peppers is not None:
        return Peppers({version: secret.get_secret_value() for version, secret in settings.key_peppers.items()})
    return Peppers({1: kept(pepper_file(settings))})


def pepper_file(settings: Settings) -> Path:
    """Return where the pepper is kept that was made here."""
    return settings.state_directory / "key.pepper"


def kept(path: Path) -> bytes:
    """Return the secret in a file that only we can read; a file that is missing gets 32 random bytes.

    They are written in hexadecimal digits, so that a variable can hold them, too.
    Raises OSError when the file can be neither read nor made, or holds no secret.
    """
    if not path.exists():
        with drafted(path, secrets.token_hex(SHORTEST_SECRET).encode()) as draft, suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, it leaves alone what another process made meanwhile
    secret = path.read_bytes()
    if len(secret) < SHORTEST_SECRET:
        raise OSError(f"{path} holds no secret: bring it back, or remove it and another is made")
    return secret


@contextmanager
def drafted(path: Path, content: bytes) -> Iterator[Path]:
    """Write a file beside `path` that nobody but us can read; the block puts it in place. Then all of it lasts."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600 from the start
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
        _sync(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
