"""What this package raises."""


def escape_unprintable(text: str) -> str:
    """Return the text with what no output can show (bytes of a file name that are not UTF-8) escaped."""
    return text.encode(errors="backslashreplace").decode()


class EmbeddedPostgresError(Exception):
    """PostgreSQL cannot be started here; the message says why and what to do about it."""

    def __init__(self, message: str) -> None:
        """Take the message for a person to read."""
        super().__init__(escape_unprintable(message))
