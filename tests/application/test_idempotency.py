"""What a stored outcome means for the one that was to be stored in its place."""

from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.memory.storage import InMemoryStorage
from adapters.system import new_id
from application.access import OPERATOR
from application.idempotency import (
    IdempotencyInFlightError,
    IdempotencyKeyReusedError,
    Once,
    Outcome,
    OutcomeErasedError,
    RepeatedError,
    outcome_of,
    require_echo,
)
from application.users import UserService
from domain.errors import ConflictError, NotFoundError
from domain.keys import Scope
from domain.users import EmailAlreadyRegisteredError, User
from tests.support.examples import stored_users
from tests.support.services import START, key_service

HOUR = timedelta(hours=1)
STORED = Outcome(
    key_id=new_id(),
    name=b"name",
    fingerprint=b"fingerprint",
    answer=b"answer",
    subject_id=new_id(),
    created_at=START,
    expires_at=START + HOUR,
)
AGAIN = replace(STORED, answer=b"another", subject_id=new_id(), created_at=START + HOUR, expires_at=START + 2 * HOUR)


def test_the_echo_of_a_lost_acknowledgement_is_no_repetition() -> None:
    require_echo(STORED, replace(STORED))


def test_the_same_request_gets_the_outcome_that_is_stored() -> None:
    with pytest.raises(RepeatedError) as raised:
        require_echo(STORED, AGAIN)
    assert raised.value.outcome is STORED


@pytest.mark.parametrize("answer", [b"answer", b""])
def test_another_request_is_told_so_even_after_an_erasure(answer: bytes) -> None:
    with pytest.raises(IdempotencyKeyReusedError):
        require_echo(replace(STORED, answer=answer), replace(AGAIN, fingerprint=b"else"))


def test_the_same_request_is_told_when_what_came_of_it_was_erased() -> None:
    with pytest.raises(OutcomeErasedError):
        require_echo(replace(STORED, answer=b""), AGAIN)


def test_an_outcome_holds_the_answer_and_how_long_it_is_kept() -> None:
    once: Once[str] = Once(key_id=STORED.key_id, name=b"n", fingerprint=b"f", lasts=HOUR, answer=str.encode)
    assert outcome_of(once, "result", subject_id=STORED.subject_id, now=START) == Outcome(
        key_id=STORED.key_id,
        name=b"n",
        fingerprint=b"f",
        answer=b"result",
        subject_id=STORED.subject_id,
        created_at=START,
        expires_at=START + HOUR,
    )
    assert outcome_of(None, "result", subject_id=None, now=START) is None


def test_the_errors_are_of_their_kinds_and_the_answer_is_not_shown() -> None:
    assert isinstance(IdempotencyInFlightError(), ConflictError)
    assert isinstance(OutcomeErasedError(), NotFoundError)
    assert not isinstance(IdempotencyKeyReusedError(), ConflictError)
    assert "answer" not in repr(STORED)
    assert "answer" not in str(RepeatedError(STORED))


async def test_a_request_is_carried_out_once_and_one_without_effect_is_tried_anew(
    storage: InMemoryStorage, users: UserService
) -> None:
    key_id = (await key_service(storage).create(OPERATOR, name="K", scopes=[Scope.USERS_WRITE])).key.id

    def once(name: bytes) -> Once[User]:
        return Once(key_id=key_id, name=name, fingerprint=b"f", lasts=HOUR, answer=lambda user: user.id.bytes)

    ada = await users.register(OPERATOR, email="ada@example.org", once=once(b"1"))
    with pytest.raises(RepeatedError) as raised:
        await users.register(OPERATOR, email="ada@example.org", once=once(b"1"))
    assert (raised.value.outcome.answer, raised.value.outcome.subject_id) == (ada.id.bytes, ada.id)
    for _ in range(2):
        with pytest.raises(EmailAlreadyRegisteredError):
            await users.register(OPERATOR, email="ada@example.org", once=once(b"2"))
    await users.register(OPERATOR, email="bob@example.org", once=once(b"2"))
    await users.erase(OPERATOR, ada.id)
    with pytest.raises(OutcomeErasedError):
        await users.register(OPERATOR, email="ada@example.org", once=once(b"1"))
    assert len(await stored_users(storage)) == 1
