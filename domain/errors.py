"""Errors of the rules. An adapter maps an error by its code and kind, so a new error needs no list elsewhere."""

from enum import Enum, auto
from typing import ClassVar


class ErrorKind(Enum):
    """How a caller can react to an error."""

    INVALID = auto()
    UNAUTHENTICATED = auto()
    FORBIDDEN = auto()
    NOT_FOUND = auto()
    GONE = auto()
    CONFLICT = auto()
    VERSION_MISMATCH = auto()


class DomainError(Exception):
    """An error that a caller can handle.

    `code` is stable and unique per class, `message` is the default text. No text contains input, so it is safe to show.
    """

    code: ClassVar[str]
    kind: ClassVar[ErrorKind]
    message: ClassVar[str]

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.message)


class VersionMismatchError(DomainError):
    """The stored version of an entity is not the expected one."""

    code = "version-mismatch"
    kind = ErrorKind.VERSION_MISMATCH
    message = "The resource has changed since you read it."


class FieldValidationError(DomainError, ValueError):
    """A field breaks a rule. `rule` is the code of the rule.

    It is also a ValueError, so that validation libraries collect it with their own errors.
    """

    code = "validation-failed"
    kind = ErrorKind.INVALID
    message = "Validation failed; see errors."
    rule: ClassVar[str] = "invalid_format"

    def __init__(self, field: str, detail: str) -> None:
        super().__init__(detail)
        self.field = field


class ReferenceNotFoundError(FieldValidationError):
    """A field refers to an entity that does not exist."""

    rule = "not_found"
