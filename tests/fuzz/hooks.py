"""What the contract refuses although the document cannot say so: authors who do not exist, cursors we did not sign.

Cases that are meant to be sound get a new author, because another case may have erased any older one, and no cursor;
cases that are meant to be refused stay as they are.
"""

from typing import Any
from uuid import uuid4

import httpx
import schemathesis
from schemathesis import GenerationMode


@schemathesis.hook
def before_call(
    context: schemathesis.HookContext,  # noqa: ARG001 - the form of the hook
    case: schemathesis.Case[Any],
    kwargs: dict[str, object],  # noqa: ARG001 - the form of the hook
) -> None:
    if case.meta is None or case.meta.generation.mode != GenerationMode.POSITIVE:
        return
    if case.operation.label == "POST /api/v1/posts" and isinstance(case.body, dict) and "author_id" in case.body:
        user = {"email": f"{uuid4().hex}@example.org"}
        case.body["author_id"] = httpx.post(
            f"{str(case.operation.base_url).rstrip('/')}/api/v1/users", json=user
        ).json()["id"]
    if case.query and "cursor" in case.query:
        del case.query["cursor"]
