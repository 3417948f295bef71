"""Answers to requests, the same on every bus: what a handler returned or raised, as bytes, and what becomes of them."""

from __future__ import annotations

from typing import Any, TypeAlias

from aether._native import decode_reply, encode, encode_error, encode_reply
from aether.errors import DeadlineError, DecodeError, RequestFailedError

__all__ = ["Answer", "answer_body", "decoded", "failure_body", "read_answer", "unanswered", "value_of"]

Answer: TypeAlias = tuple[Any, str | None]
"""What a handler returned, or why it did not: one of the two is None."""


def answer_body(value: object) -> bytes:
    """Return the body that brings a handler's value.

    Raises:
        EncodeError: the value holds what event data may not hold either.
    """
    return encode_reply(encode(value))


def failure_body(error: BaseException) -> bytes:
    """Return the body that says what a handler raised; of many words the first."""
    return encode_error(f"{type(error).__name__}: {error}")


def read_answer(body: bytes) -> Any:  # noqa: ANN401 - whatever the handler returned
    """Return the value of an answer.

    Raises:
        RequestFailedError: the handler raised.
        DecodeError: the body is no answer.
    """
    return value_of(decode_reply(body))


def decoded(body: bytes) -> Answer | None:
    """Return the answer that a body is; None: it is none of a bus's. Whatever hears a request's subject can answer it."""
    try:
        return decode_reply(body)
    except DecodeError:
        return None


def value_of(answer: Answer) -> Any:  # noqa: ANN401 - whatever the handler returned
    """Return the value of an answer.

    Raises:
        RequestFailedError: the handler raised.
    """
    value, reason = answer
    if reason is not None:
        raise RequestFailedError(reason)
    return value


def unanswered(event_type: str, actor_id: str, timeout_s: float, foreign: bytes | None = None) -> DeadlineError:
    """Make the error for a request that nobody answered in time, or (`foreign`) only somebody who is no handler of a bus."""
    beside = (
        "" if foreign is None else f" (something that is no bus answered {foreign!r}; does a stream take the bus's subjects?)"
    )
    return DeadlineError(f"request {event_type!a} of {actor_id!a}, on which a handler may have acted or not{beside}", timeout_s)
