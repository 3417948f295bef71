"""Everything at once that may happen to commands, and that the storm finds what is planted."""

from __future__ import annotations

import pytest
from command_storm import Storm
from memory_cluster import FencedMemoryStore, MemoryCluster, MemoryNode

from aether import (
    Snapshot,
)
from aether.cluster import asking
from aether.cluster.actor_runner import ActorRunner
from aether.cluster.actors import Actor


@pytest.mark.parametrize("seed", range(6))
async def test_every_command_is_done_once_whatever_happens(cluster, monkeypatch, seed):
    """Under moves, lost questions, answers and acks, each command is stored once, however often asked, and replies fit events."""
    monkeypatch.setattr(asking, "RESEND_S", 0.05)
    assert await Storm(cluster, seed).run() == []


def forget_commands(monkeypatch):
    """Plant: an actor does not remember its commands."""
    monkeypatch.setattr(Actor, "_remember", lambda *_: None)


def forget_in_snapshots(monkeypatch):
    """Plant: a snapshot holds no commands."""
    snapshot = Actor.snapshot

    def without(actor: Actor) -> Snapshot | None:
        taken = snapshot(actor)
        return None if taken is None else Snapshot(taken.actor_id, taken.version, {**taken.state, "commands": []})

    monkeypatch.setattr(Actor, "snapshot", without)


def keep_what_is_in_memory(monkeypatch):
    """Plant: what is in memory counts under any epoch."""
    monkeypatch.setattr(MemoryNode, "epoch_of", lambda node, _: 1 if node.cluster.holder == node.node_id else None)
    monkeypatch.setattr(FencedMemoryStore, "check", lambda *_: None)


def keep_after_a_lost_ack(monkeypatch):
    """Plant: the state is kept though nobody can say whether its last events are stored."""
    monkeypatch.setattr(Actor, "is_ahead", property(lambda _: False, lambda *_: None), raising=False)
    told = ActorRunner._told

    def keeping(runner, resident, job, error):
        actor = resident.actor
        outcome = told(runner, resident, job, error)
        resident.actor = actor
        return outcome

    monkeypatch.setattr(ActorRunner, "_told", keeping)


@pytest.mark.parametrize("plant", [forget_commands, forget_in_snapshots, keep_what_is_in_memory, keep_after_a_lost_ack])
async def test_the_storm_finds_what_is_planted(monkeypatch, plant):
    """A host that forgets commands, or trusts memory that may be old, is found out by the same storm."""
    monkeypatch.setattr(asking, "RESEND_S", 0.05)
    plant(monkeypatch)
    for seed in range(20):
        if await Storm(MemoryCluster(), seed).run():
            return
    pytest.fail("nothing was found")
