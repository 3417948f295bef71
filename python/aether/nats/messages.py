"""What a stream holds, and what is told of it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GONE", "Message", "Newest", "Published", "Subjects"]

GONE = "the message is gone, though nothing may delete it: the server's disk is damaged, or the stream was copied in part"


class Message(NamedTuple):
    """A stored message.

    Attributes:
        position: its place in the stream, the stream sequence.
        subject: where it was published.
        body: its bytes.
    """

    position: int
    subject: str
    body: bytes


class Newest(NamedTuple):
    """The last messages of some subjects, as one replica has them.

    Attributes:
        messages: by their subjects; one without a message is missing.
        reached: the position up to which the replica had the stream; 0: it does not say, as where it has none of them.
    """

    messages: dict[str, Message]
    reached: int


class Subjects(NamedTuple):
    """The subjects of a stream that match a filter, as its leader has them.

    Attributes:
        names: those that the answer names.
        reached: the position up to which the leader had the stream, or further.
        is_all: there are no others.
    """

    names: list[str]
    reached: int
    is_all: bool


class Published(NamedTuple):
    """What became of a guarded publish that was answered.

    Attributes:
        position: where it lies; 0 where it was not stored.
        refused: the guard did not hold, or another write to the subject is in flight.
    """

    position: int
    refused: bool
