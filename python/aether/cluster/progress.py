"""What a node tells the leader of shards that move."""

from __future__ import annotations

import msgspec

__all__ = ["Progress"]


class Progress(msgspec.Struct, frozen=True):
    """How far a node has come with what a table says.

    Attributes:
        node: its name.
        position: the table.
        released: shards that the table wants it to let go and that it does not hold.
        taken: shards that were moved to it and take writes now.
    """

    node: str
    position: int
    released: list[int]
    taken: list[int]

    def encode(self) -> bytes:
        """Return it as JSON."""
        return msgspec.json.encode(self)

    @classmethod
    def decode(cls, body: bytes) -> Progress:
        """Read it.

        Raises:
            msgspec.DecodeError: it is none.
        """
        return _DECODE.decode(body)


_DECODE = msgspec.json.Decoder(Progress)
