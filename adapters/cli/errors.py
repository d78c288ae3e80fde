"""Errors of commands, with a message of one line."""


class MisusedError(Exception):
    """The arguments of a command are invalid."""


class NotReadyError(Exception):
    """The database is not ready for this release."""
