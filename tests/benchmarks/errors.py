"""Errors of the benchmark."""


class BenchmarkError(Exception):
    """The benchmark cannot run, or its result would be meaningless."""


class WrongResponseError(BenchmarkError):
    """A service does not do the work that is measured."""
