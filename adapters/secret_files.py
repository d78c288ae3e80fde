"""Secrets that are generated and stored in the state directory if the environment has none."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from adapters.setting_values import MIN_SECRET_BYTES
from adapters.settings import Settings
from application.api_key_tokens import PepperSet


def cursor_secret(settings: Settings) -> bytes:
    """Return the secret that signs cursors."""
    if settings.cursor_secret is not None:
        return settings.cursor_secret.get_secret_value()
    return load_or_create_secret(
        settings.state_directory / "cursor.secret",
        "Deleting it creates a new secret and invalidates cursors that clients use.",
    )


def key_peppers(settings: Settings) -> PepperSet:
    """Return the peppers of the API key hashes. A generated pepper has version 1."""
    if settings.api_key_peppers is not None:
        return PepperSet({version: secret.get_secret_value() for version, secret in settings.api_key_peppers.items()})
    consequence = "Deleting it creates a new pepper and invalidates all existing API keys."
    return PepperSet({1: load_or_create_secret(pepper_file(settings), consequence)})


def pepper_file(settings: Settings) -> Path:
    """Return the path of the generated pepper."""
    return settings.state_directory / "key.pepper"


def load_or_create_secret(path: Path, consequence: str) -> bytes:
    """Return the secret in a file with mode 0600. A missing file is created with 32 random bytes in hexadecimal digits.

    Raises OSError if the file can be neither read nor created, or is too short. `consequence` is the effect of deleting
    it, for the error message.
    """
    if not path.exists():
        with atomic_write(path, secrets.token_hex(MIN_SECRET_BYTES).encode()) as draft, suppress(FileExistsError):
            os.link(draft, path)  # unlike a rename, it does not replace the file of a concurrent process
    secret = path.read_bytes()
    if len(secret) < MIN_SECRET_BYTES:
        raise OSError(f"{path} is shorter than {MIN_SECRET_BYTES} bytes. Restore it from a backup. {consequence}")
    return secret


@contextmanager
def atomic_write(path: Path, content: bytes) -> Iterator[Path]:
    """Write a temporary file with mode 0600 beside `path`. The block moves it to `path`. Then sync it to disk."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # with mode 0600 from the start
    draft = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
        _fsync_directory(path.parent)
    finally:
        draft.unlink(missing_ok=True)


def _fsync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
