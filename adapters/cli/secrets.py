"""Secrets that are made once and kept in the state directory when the environment gives none."""

import os
import secrets
from pathlib import Path

from adapters.settings import Settings


def cursor_secret(settings: Settings) -> bytes:
    """Return the key that signs cursors."""
    if settings.cursor_secret is not None:
        return settings.cursor_secret.get_secret_value()
    return kept(settings.state_directory / "cursor.secret")


def kept(path: Path) -> bytes:
    """Return the secret in a file that only we can read; a file that is missing gets 32 random bytes.

    Raises OSError when the file can be neither read nor made.
    """
    if not path.exists():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(32))
        try:
            os.link(draft, path)  # unlike a rename, it leaves alone what another process made meanwhile
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    return path.read_bytes()
