"""Answers to requests, the same on every bus: what a handler returned or raised, as bytes, and what becomes of them."""

from __future__ import annotations

from typing import Any

from aether._native import decode_reply, encode, encode_error, encode_reply
from aether.errors import DeadlineError, RequestFailedError

__all__ = ["answer_body", "failure_body", "read_answer", "unanswered"]


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
    value, reason = decode_reply(body)
    if reason is not None:
        raise RequestFailedError(reason)
    return value


def unanswered(event_type: str, actor_id: str, timeout_s: float) -> DeadlineError:
    """Make the error for a request that nobody answered in time."""
    return DeadlineError(f"request {event_type!a} of {actor_id!a}, on which a handler may have acted or not", timeout_s)
