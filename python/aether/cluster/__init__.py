"""Several processes that share a namespace: who leads, who is there, and who owns what."""

from __future__ import annotations

from aether.cluster.actors import Behaviour
from aether.cluster.changes import ClusterChange
from aether.cluster.election import LeaderElection
from aether.cluster.host import ActorHost, HostStats
from aether.cluster.leadership import Leader, Leadership, LossSignal
from aether.cluster.members import Member
from aether.cluster.node import ClusterNode

__all__ = [
    "ActorHost",
    "Behaviour",
    "ClusterChange",
    "ClusterNode",
    "HostStats",
    "Leader",
    "LeaderElection",
    "Leadership",
    "LossSignal",
    "Member",
]
