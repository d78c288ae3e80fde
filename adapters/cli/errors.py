"""Errors of commands, with a message of one line."""


class UsageError(Exception):
    """The arguments of a command are invalid."""


class DatabaseNotReadyError(Exception):
    """The database is not ready for this release."""
