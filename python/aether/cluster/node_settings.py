"""What a node is told when it joins, beside who it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aether.cluster.table import SHARDS
from aether.nats.subjects import check_namespace
from aether.store.arguments import check_int, check_is_seconds, check_placing

__all__ = ["NodeSettings"]

DRAIN_S_MAX = 3_600.0


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What `ClusterNode.join` says of each; refused where it is out of its range.

    Attributes:
        namespace: the namespace.
        ttl_s: after how many whole seconds without a sign a node counts as dead.
        drain_s: how long a shard that moves may take to let go of it.
        settle_s: how long a new node must be there before shards move to it.
        moves_max: how many shards move at a time.
        timeout_s: what joining, and each call to the store, may take.
        replicas: how many servers hold a new namespace; None: one.
        storage: where a new namespace lies; None: in files.
    """

    namespace: str
    ttl_s: int
    drain_s: float
    settle_s: float
    moves_max: int
    timeout_s: float
    replicas: int | None
    storage: Literal["file", "memory"] | None

    def __post_init__(self) -> None:
        check_placing(self.timeout_s, self.replicas, self.storage)
        check_namespace(self.namespace)
        _check_seconds("drain_s", self.drain_s)
        _check_seconds("settle_s", self.settle_s)
        check_int("moves_max", self.moves_max, 1, SHARDS, f"1 to {SHARDS:,}")


def _check_seconds(name: str, value: float) -> None:
    check_is_seconds(name, value)
    if not 0 <= value <= DRAIN_S_MAX:
        raise ValueError(f"{name} must be 0 to {DRAIN_S_MAX:,.0f} seconds, not {value}")
