"""Several processes that share a namespace: who leads, who is there, and who owns what."""

from __future__ import annotations

from aether.cluster.actors import Behaviour
from aether.cluster.election import Leader, LeaderElection, Leadership, LossSignal
from aether.cluster.host import ActorHost, HostStats

__all__ = ["ActorHost", "Behaviour", "HostStats", "Leader", "LeaderElection", "Leadership", "LossSignal"]
