"""What JetStream's API answers, as far as a log needs it: acks of publishes, stored messages, and how far a stream reaches."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from aether.nats.errors import NO_MESSAGE, UnansweredError

__all__ = ["Ack", "ApiError", "Got", "Info", "Stored", "ack_in", "found_in", "got_in", "info_in", "is_none"]

A = TypeVar("A")


class ApiError(msgspec.Struct):
    """An answer of no."""

    code: int = 0
    err_code: int = 0
    description: str = ""


class Ack(msgspec.Struct):
    """What a publish is answered."""

    stream: str = ""
    seq: int = 0
    error: ApiError | None = None


class Stored(msgspec.Struct):
    """A message; its data comes as base64."""

    subject: str
    seq: int
    data: bytes = b""


class Got(msgspec.Struct):
    """What a question for a message is answered by the leader."""

    message: Stored | None = None
    error: ApiError | None = None


class State(msgspec.Struct):
    """How far a stream reaches, and its subjects with their numbers of messages where those were asked for."""

    last_seq: int = 0
    subjects: dict[str, int] | None = None


class Info(msgspec.Struct):
    """What a question for a stream is answered."""

    state: State | None = None
    total: int = 0
    error: ApiError | None = None


_ACK = msgspec.json.Decoder(Ack)
_GOT = msgspec.json.Decoder(Got)
_INFO = msgspec.json.Decoder(Info)

NO_ANSWER = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What reading raises when an answer is none of JetStream's; msgspec tells bad text, and depth, in Python's own way."""


def _read(decoder: msgspec.json.Decoder[A], data: bytes) -> A:
    try:
        return decoder.decode(data)
    except NO_ANSWER as error:
        raise UnansweredError(f"an answer that is none of JetStream's: {error}") from error


def ack_in(data: bytes) -> Ack:
    """Read what a publish was answered: an ack with a stream, or an error.

    Raises:
        UnansweredError: it is neither.
    """
    ack = _read(_ACK, data)
    if ack.error is None and not ack.stream:
        raise UnansweredError("an answer that is no ack, and no error")
    return ack


def got_in(data: bytes) -> Got:
    """Read what the leader has, a message or an error.

    Raises:
        UnansweredError: it is neither.
    """
    got = _read(_GOT, data)
    if got.message is None and got.error is None:
        raise UnansweredError("an answer without a message, and without an error")
    return got


def info_in(data: bytes) -> Info:
    """Read what a stream is.

    Raises:
        UnansweredError: it is no answer of JetStream's.
    """
    return _read(_INFO, data)


def found_in(data: bytes) -> Stored | None:
    """Return the message that the leader answers with; None where it has none, or answers in no way that is known."""
    try:
        return _GOT.decode(data).message
    except NO_ANSWER:
        return None


def is_none(data: bytes) -> bool:
    """Say whether the leader answers that there is no such message."""
    try:
        got = _GOT.decode(data)
    except NO_ANSWER:
        return False
    return got.error is not None and got.error.err_code in NO_MESSAGE
