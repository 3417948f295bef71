"""A node's share of the shards, as the last table has it. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aether.cluster.table import Table

__all__ = ["Share"]


class Share:
    """What the last table says of one node's shards; nothing, as long as none was seen.

    Args:
        node_id: the node's name, as tables have it.

    Attributes:
        position: where the table lies.
        given: shards that it gives to the node for good: those that are to be let go are not among them.
        leaving: shards that the node owns, and is to let go.
        arrived: shards that were moved to the node, until it is done with them; see `done_with`.
    """

    def __init__(self, node_id: str) -> None:
        self._node_id = node_id
        self._table: Table | None = None
        self.position = 0
        self.given: frozenset[int] = frozenset()
        self.leaving: frozenset[int] = frozenset()
        self.arrived: set[int] = set()

    def follow(self, table: Table, position: int) -> None:
        """Take it that this is the last table."""
        before, self._table, self.position = self._table, table, position
        owned = table.shards_of(self._node_id)
        self.leaving = owned & table.moving.keys()
        self.given = owned - self.leaving
        if before is not None:
            self.arrived.update(shard for shard, target in before.moving.items() if target == self._node_id)
            self.arrived &= self.given

    def done_with(self, arrived: list[int]) -> None:
        """Take it that these need not be thought of any more as having been moved here."""
        self.arrived.difference_update(arrived)

    def has(self, shard: int) -> bool:
        """Say whether a shard is this node's or is to become it, also while it is being moved."""
        table = self._table
        return table is not None and self._node_id in (table.owners[shard], table.moving.get(shard))

    def other_owner(self, shard: int) -> str | None:
        """Return who else is to be asked about a shard: its owner, or who gets it where this node lets it go; None: nobody."""
        if self._table is None:
            return None
        owner = self._table.owners[shard]
        return self._table.moving.get(shard) if owner == self._node_id else owner

    def goes_to(self, shard: int) -> str | None:
        """Return to which other node a shard is being moved; None: to none."""
        target = None if self._table is None else self._table.moving.get(shard)
        return None if target == self._node_id else target
