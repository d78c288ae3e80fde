"""Why a command was not carried out."""


class MisusedError(Exception):
    """What was asked for makes no sense; the message says why, in a line."""


class NotReadyError(Exception):
    """The database is not what this release needs; the message says why, in a line."""
