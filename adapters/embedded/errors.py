"""The error of this package."""


class EmbeddedPostgresError(Exception):
    """PostgreSQL cannot be started. The message has the cause and the remedy."""

    def __init__(self, message: str) -> None:
        """Escape the bytes of file names that are not UTF-8."""
        super().__init__(message.encode(errors="backslashreplace").decode())
