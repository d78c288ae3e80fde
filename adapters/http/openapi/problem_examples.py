"""Examples of problems, for their pages and the OpenAPI document."""

from collections.abc import Mapping

from adapters.http.problems.validation import FieldError

EXAMPLE_REQUEST_ID = "0198a3c47f2b7d31a6f0c2b9e4d81357"

EXAMPLE_ERRORS: Mapping[str, list[FieldError]] = {
    "validation-failed": [
        {"pointer": "/email", "code": "invalid_format", "detail": "Must be an e-mail address such as ada@example.org."},
        {"parameter": "limit", "code": "out_of_range", "detail": "Must be an integer from 1 to 100."},
    ],
    "author-not-found": [
        {"pointer": "/author_id", "code": "not_found", "detail": "There is no user with this id."},
    ],
}
"""The `errors` of a problem, by its code."""
