"""What a lease says on its subject, as JSON: whose it is, and what else its holder tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from aether.cluster.lease_words import Record
from aether.errors import DecodeError

if TYPE_CHECKING:
    from aether.nats.coordination import Entry

__all__ = ["LeaseBody", "record_of"]


class LeaseBody(msgspec.Struct, frozen=True):
    """A lease's body.

    Attributes:
        name: the candidate or node.
        session: the process's own random name, so that nobody takes another's lease for its own.
        term: the position of the write that began the term; 0: this is that write.
        beat: which write of the session this is.
        ttl_s: the time to live, in seconds.
        free: the holder let go of it.
        data: what the holder tells beside.
    """

    name: str
    session: str
    term: int
    beat: int
    ttl_s: float
    free: bool = False
    data: dict[str, Any] = {}  # msgspec makes a new one for each

    def encode(self) -> bytes:
        """Return the bytes."""
        return msgspec.json.encode(self)

    @staticmethod
    def decode(body: bytes) -> LeaseBody:
        """Return what the bytes say.

        Raises:
            DecodeError: they are no lease's.
        """
        try:
            return msgspec.json.decode(body, type=LeaseBody)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise DecodeError(-1, f"no body of a lease: {error}") from error


def record_of(entry: Entry | None) -> Record:
    """Return what an entry means for who wants the lease.

    Raises:
        DecodeError: a foreign writer wrote to the subject.
    """
    if entry is None:
        return Record()
    if entry.marker:
        return Record(entry.position)
    body = LeaseBody.decode(entry.body)
    if body.free:
        return Record(entry.position, None, body.term, body.beat, released=True, ttl_s=body.ttl_s)
    return Record(entry.position, body.session, body.term, body.beat, released=False, ttl_s=body.ttl_s)
