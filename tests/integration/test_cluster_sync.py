"""Nodes and hosts without `await`."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from aether import CommandFailedError, NewEvent, sync
from aether.cli.demo_node import Account

if TYPE_CHECKING:
    from aether import EmbeddedServer


def test_a_node_and_its_host_block(nats_server: EmbeddedServer, namespace: str) -> None:
    """A node joins, calls its hooks in threads, hosts actors, and has a store that writes and ingests, all by plain calls."""
    taken: list[tuple[int, str]] = []

    def on_acquire(shard: int, epoch: int) -> None:
        taken.append((shard, threading.current_thread().name))
        assert epoch > 0

    patient: dict[str, Any] = {"namespace": namespace, "ttl": 60, "timeout_s": 20}
    joining = sync.ClusterNode.join(nats_server.url, node_id="a", on_acquire=on_acquire, **patient)
    assert isinstance(joining, sync.ClusterNode)
    with joining as node, sync.ActorHost(node, Account, timeout_s=20) as host:
        node.settled(timeout_s=60)
        assert (node.node_id, node.leader, len(node.shards), len(taken)) == ("a", "a", 1021, 1021)
        assert threading.current_thread().name not in {name for _, name in taken}
        assert host.ask("account-1", {"deposit": 5}, command_id="c") == {"cents": 5, "balance": 5}
        assert host.ask("account-1", {"deposit": 5}, command_id="c") == {"cents": 5, "balance": 5}
        with pytest.raises(CommandFailedError, match="KeyError"):
            host.ask("account-1", {})
        assert host.stats().handled == 1
        assert node.store.append("order-1", [NewEvent("Placed")]).version == 1
        with node.store.ingest() as pipeline:
            pipeline.put(("order-1", NewEvent("Shipped")))
        assert [event.event_type for event in node.store.get_events("order-1")] == ["Placed", "Shipped"]
        changes = node.changes()
        with sync.ClusterNode.join(nats_server.url, node_id="b", weight=0, **patient) as other:
            assert next(change.node for change in changes if change.kind == "member_joined") == "b"
            assert set(other.members) == {"a", "b"}
            owner = other.owner_of("account-1")
            assert owner is not None
            assert owner.name == "a"
