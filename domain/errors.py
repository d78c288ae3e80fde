"""The kinds of refusal the rules know. An adapter that knows nothing of a single error maps its kind."""


class DomainError(Exception):
    """A rule refused. The message is safe to show: it never holds what the caller sent."""


class NotFoundError(DomainError):
    """What was asked for does not exist."""


class ConflictError(DomainError):
    """The request is sound, but the present state of things forbids it."""


class VersionMismatchError(DomainError):
    """The caller expected another version of the entity than the one that is stored."""

    def __init__(self) -> None:
        super().__init__("It was changed since you read it. Read it again and repeat your change.")


class InvalidValueError(DomainError, ValueError):
    """A value breaks a rule of its field.

    Also a ValueError, so that validation libraries collect it with their own findings.
    """

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field
