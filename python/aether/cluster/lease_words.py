"""What a lease and its keeper say to each other: what is to be done, what lies on the subject, what became of the lease."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

__all__ = ["RELEASED", "Action", "Change", "Record", "What"]

RELEASED = "released"
"""The reason of a term's end that its holder wanted."""


class What(Enum):
    """What a lease wants done."""

    ACQUIRE = "acquire"
    RENEW = "renew"
    RELEASE = "release"
    READ = "read"


class Action(NamedTuple):
    """One thing to do now; its outcome must be told before there is another.

    Attributes:
        what: the kind.
        guard: for a write: the position that the subject's last message must have.
        term: for a write: the term it belongs to; 0 when it begins one, whose number is then its own position.
        beat: for a write: its number in this session.
    """

    what: What
    guard: int = 0
    term: int = 0
    beat: int = 0


class Record(NamedTuple):
    """What lies on the subject.

    Attributes:
        position: where; 0: nothing is there.
        session: whose it is; None: nobody's, because nothing is there, or it has expired, or was released.
        term: the term, 0 where the record begins one.
        beat: the session's number for this write.
        released: the last holder let go of it, so nobody needs to wait.
        ttl_s: the holder's time to live.
    """

    position: int = 0
    session: str | None = None
    term: int = 0
    beat: int = 0
    released: bool = False
    ttl_s: float = 0.0


class Change(NamedTuple):
    """What became of the lease.

    Attributes:
        held: whether it is held now.
        term: the number of the term that began or ended.
        reason: why it ended; "" where it began.
    """

    held: bool
    term: int
    reason: str = ""
