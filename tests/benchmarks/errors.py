"""Why there is no result."""


class BenchmarkError(Exception):
    """The measurement cannot be made, or would mean nothing."""


class WrongAnswerError(BenchmarkError):
    """A service does not do the work that is measured."""
