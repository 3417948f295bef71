"""The shard table: who owns which shard, and which shards are being moved. Written by the leader alone, read by every node.

It is one JSON message, so that people can read it with any client. What it says is not what makes a write safe: an owner's epoch
record is. A table that is late, or wrong, costs time and no event.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated

import msgspec

from aether.cluster.members import MEMBERS_MAX, check_node_id
from aether.errors import DecodeError, UnknownFormatError
from aether.nats.subjects import SHARDS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["SHARDS", "Table"]

FORMAT = 1

TABLE_BYTES_MAX = 2**19
"""More than any table of the most members with the longest names that JSON does not make longer."""

_Index = Annotated[int, msgspec.Meta(ge=-1, lt=MEMBERS_MAX)]


class _Body(msgspec.Struct):
    """The message. `owners` and `moving`'s values are indices into `nodes`; -1: nobody."""

    format: int
    term: Annotated[int, msgspec.Meta(ge=1)]
    nodes: Annotated[list[str], msgspec.Meta(max_length=MEMBERS_MAX)]
    owners: Annotated[list[_Index], msgspec.Meta(max_length=SHARDS)]
    moving: dict[str, _Index]


class _Format(msgspec.Struct):
    format: int


_DECODE = msgspec.json.Decoder(_Body)
_DECODE_FORMAT = msgspec.json.Decoder(_Format)


@dataclass(frozen=True)
class Table:
    """Who owns what.

    Attributes:
        term: the term of the leader who wrote it.
        owners: each shard's owner by name; None: nobody.
        moving: shards that their owner is to let go, and who gets them then. Those that nobody owns are not moved but given.
    """

    term: int
    owners: tuple[str | None, ...]
    moving: Mapping[int, str]

    @classmethod
    def of(cls, term: int, owners: Sequence[str | None], moving: Mapping[int, str]) -> Table:
        """Make a table that nobody changes any more."""
        return cls(term, tuple(owners), MappingProxyType(dict(moving)))

    def names(self) -> list[str]:
        """Return everybody that it names, sorted."""
        return sorted({owner for owner in self.owners if owner is not None}.union(self.moving.values()))

    def shards_of(self, name: str) -> frozenset[int]:
        """Return the shards that this node owns, those that it is to let go included."""
        return frozenset(shard for shard, owner in enumerate(self.owners) if owner == name)

    def encode(self) -> bytes:
        """Return the message's body."""
        nodes = self.names()
        index = {name: place for place, name in enumerate(nodes)}
        owners = [-1 if owner is None else index[owner] for owner in self.owners]
        moving = {str(shard): index[target] for shard, target in sorted(self.moving.items())}
        return msgspec.json.encode(_Body(FORMAT, self.term, nodes, owners, moving))

    @classmethod
    def decode(cls, body: bytes) -> Table:
        """Read a message's body.

        Raises:
            DecodeError: it is no table, or (`UnknownFormatError`) one of a later version of Aether.
        """
        if len(body) > TABLE_BYTES_MAX:
            raise DecodeError(-1, f"a shard table of {len(body):,} bytes; the limit is {TABLE_BYTES_MAX:,}")
        try:
            told = _DECODE_FORMAT.decode(body).format
            if told != FORMAT:
                raise UnknownFormatError(-1, told)
            found = _DECODE.decode(body)
            names = _names(found)
            return cls.of(found.term, [names[place] for place in found.owners], _moving(found, names))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ValueError) as error:
            if isinstance(error, DecodeError):
                raise
            raise DecodeError(-1, f"no shard table: {error}") from error


def _names(found: _Body) -> list[str | None]:
    """Return whom each index means, once all of them are known to mean somebody; the last one, -1, is nobody."""
    if len(found.owners) != SHARDS:
        raise ValueError(f"it has {len(found.owners):,} shards, not {SHARDS:,}")
    if len(set(found.nodes)) != len(found.nodes):
        raise ValueError("it names a node twice")
    for name in found.nodes:
        check_node_id(name)
    most = max(*found.owners, *found.moving.values())
    if most >= len(found.nodes):
        raise ValueError(f"it names node {most}, and has {len(found.nodes)}")
    return [*found.nodes, None]


def _moving(found: _Body, names: list[str | None]) -> dict[int, str]:
    moving: dict[int, str] = {}
    for text, place in found.moving.items():
        shard, target = int(text) if text.isascii() and text.isdigit() else -1, names[place]
        if not 0 <= shard < SHARDS or str(shard) != text:
            raise ValueError(f"it moves {text!a}, which is no shard")
        if target is None or found.owners[shard] in (-1, place):
            raise ValueError(f"it moves shard {shard} from nobody, to nobody, or to where it is")
        moving[shard] = target
    return moving
