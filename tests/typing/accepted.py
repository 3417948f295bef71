"""Typed code of a user, which mypy accepts in strict mode; CI and a test check this file, nobody runs it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import assert_type

import aether
from aether import sync
from aether.testing import HOSTILE_IDS, Clock, StoreContract, as_async


@dataclass
class Placed:
    """A typed payload."""

    total: float


async def awaited(store: aether.EventStore, snapshots: aether.SnapshotStore) -> None:
    """Use the async face."""
    placed = aether.NewEvent("Placed", Placed(total=1.5), metadata={"user": "a"})
    appended = await store.append("order-1", [placed], expected_version=0)
    assert_type(appended, aether.Appended)
    assert_type(appended.version, int)
    assert_type(await store.save_event(aether.Event("order-1", "Paid", 2)), int)
    assert_type(await store.save_events([aether.Event("order-1", "Shipped", version) for version in (3, 4)]), int)
    assert_type(await store.get_events("order-1", 1, limit=10), list[aether.Event])
    assert_type(await store.get_latest_version("order-1"), int)
    async for batch in store.read_events("order-1", batch_size=100):
        assert_type(batch, list[aether.Event])
    await snapshots.save_snapshot(aether.Snapshot("order-1", 2, {"total": 1.5}))
    assert_type(await snapshots.get_latest_snapshot("order-1"), aether.Snapshot | None)


def blocking(store: sync.EventStore, snapshots: sync.SnapshotStore) -> None:
    """Use the blocking face."""
    appended = store.append("order-1", sync.NewEvent("Placed"), expected_version=None)
    assert_type(appended, sync.Appended)
    assert_type(store.save_event(sync.Event("order-1", "Paid", 2)), int)
    assert_type(store.save_events(iter([sync.Event("order-1", "Shipped", 3)])), int)
    assert_type(store.get_events("order-1", from_version=1), list[sync.Event])
    assert_type(store.get_latest_version("order-1"), int)
    for batch in store.read_events("order-1", batch_size=100):
        assert_type(batch, list[sync.Event])
    snapshots.save_snapshot(sync.Snapshot("order-1", 2, {"total": 1.5}))
    assert_type(snapshots.get_latest_snapshot("order-1"), sync.Snapshot | None)


async def awaited_bus(bus: aether.EventBus, event: aether.Event) -> None:
    """Use the async face of a bus."""

    @bus.on(Placed, group="mail", on_error="stop")
    async def awaited_handler(placed: Placed, event: aether.Event) -> float:
        return placed.total + event.version

    @bus.on(Placed, actor_prefix="order-", policy="drop_oldest")
    def handler(placed: Placed, _: aether.Event) -> None:
        assert_type(placed.total, float)

    assert_type(await awaited_handler(Placed(1.5), event), float)
    handler(Placed(1.5), event)
    await bus.publish(event)
    await bus.publish_many(event for _ in range(3))
    async with await bus.subscribe(actor_id="order-1", event_type="Placed") as subscription:
        assert_type(subscription, aether.Subscription)
        async for heard in subscription:
            assert_type(heard, aether.Event)
        async for batch in subscription.batches(100):
            assert_type(batch, list[aether.Event])
        async for namespace, heard in subscription.namespaced():
            assert_type(namespace, str)
            assert_type(heard, aether.Event)
        assert_type(subscription.stats().missed, int)
    await bus.subscribe(handler=lambda event: event.version, on_error=lambda error, _: error.args)
    await bus.request(event, timeout=1.5)


def blocking_bus(bus: sync.EventBus, event: sync.Event) -> None:
    """Use the blocking face of a bus."""

    @bus.on(Placed)
    def handler(placed: Placed, _: sync.Event) -> float:
        return placed.total

    assert_type(handler(Placed(1.5), event), float)
    bus.publish_many([event])
    with bus.subscribe(actor_prefix="order-", max_pending=10) as subscription:
        for heard in subscription:
            assert_type(heard, sync.Event)
        for batch in subscription.batches():
            assert_type(batch, list[sync.Event])
        assert_type(subscription.is_live, bool)


async def open_buses() -> None:
    """Buses are buses, and a store that publishes is a store."""
    async with aether.LocalEventBus(timeout_s=1) as bus:
        await awaited_bus(bus, aether.Event("order-1", "Paid", 2))
        store = aether.PublishingEventStore(aether.InMemoryEventStore(), bus)
        await awaited(store, store)
    with sync.LocalEventBus() as blocking_one:
        blocking_bus(blocking_one, sync.Event("order-1", "Paid", 2))
        publishing = sync.PublishingEventStore(sync.InMemoryEventStore(), blocking_one)
        blocking(publishing, publishing)


def values(event: aether.Event) -> None:
    """Read an event."""
    assert_type(event.id, str)
    assert_type(event.actor_id, str)
    assert_type(event.version, int)
    assert_type(event.timestamp, datetime)
    assert_type(event.metadata, dict[str, str])
    assert_type(event.correlation_id, str | None)
    assert_type(event.payload, bytes)
    assert_type(event.decode(Placed), Placed)
    assert_type(aether.codec.encode({"a": 1}), bytes)


async def open_awaited() -> None:
    """Stores are stores, async."""
    async with (
        aether.EmbeddedServer("data", sync=0.5) as server,
        aether.JetStreamEventStore(server.url, namespace="shop", replicas=1) as store,
        aether.InMemoryEventStore(max_events=10) as memory,
    ):
        await awaited(store, store)
        await awaited(memory, memory)
        assert_type((await store.info()).replicas, int)
        assert_type(await store.repair("order-1"), tuple[int, ...])


def open_blocking() -> None:
    """Stores are stores, blocking."""
    with (
        sync.EmbeddedServer("data", sync="always") as server,
        sync.JetStreamEventStore(server.url, namespace="shop") as store,
        sync.InMemoryEventStore() as memory,
    ):
        blocking(store, store)
        blocking(memory, memory)
        assert_type(store.info().sync, str)
    server.close()


class Account:
    """A behaviour needs no base class."""

    initial = 0

    def apply(self, state: int, event: aether.Event) -> int:
        """Add."""
        return state + int(event.data["cents"])

    def handle(self, state: int, command: dict[str, int]) -> tuple[aether.NewEvent, int]:
        """Deposit."""
        return aether.NewEvent("Deposited", command), state + command["cents"]


async def cluster_awaited(url: str) -> None:
    """A node is a host's, async."""
    node = aether.ClusterNode.join(url, node_id="a", on_acquire=lambda shard, epoch: shard + epoch)
    async with node, aether.ActorHost(node, lambda actor_id: Account()) as host:
        await awaited(node.store, node.store)
        assert_type(node.owner_of("order-1"), aether.Member | None)
        async for change in node.changes():
            assert_type(change, aether.ClusterChange)
        assert_type((await host.ask("order-1", {"cents": 5}), host.stats())[1].handled, int)
    async with aether.LeaderElection(url, group="billing") as election, election.leadership(timeout_s=5) as term:
        assert_type((term.number, term.valid, await term.lost.wait(1.0)), tuple[int, bool, bool])
        async for leader in election.changes():
            assert_type(leader, aether.Leader | None)


def cluster_blocking(url: str) -> None:
    """A node is a host's, blocking."""
    node = sync.ClusterNode.join(url, node_id="a", on_release=lambda shard: None)
    with node, sync.ActorHost(node, lambda actor_id: Account()) as host:
        blocking(node.store, node.store)
        assert_type(node.owner_of("order-1"), sync.Member | None)
        for change in node.changes():
            assert_type(change, sync.ClusterChange)
        assert_type((host.ask("order-1", {"cents": 5}), host.stats())[1].handled, int)
    with sync.LeaderElection(url, group="billing") as election, election.leadership(timeout_s=5) as term:
        assert_type((term.number, term.valid, term.lost.wait(1.0)), tuple[int, bool, bool])
        for leader in election.changes():
            assert_type(leader, sync.Leader | None)


def conflict(store: sync.EventStore) -> int:
    """Catch an error by either name: it is the same."""
    try:
        return store.append("order-1", sync.NewEvent("Paid"), expected_version=1).version
    except aether.VersionConflictError as error:
        return error.actual
    except sync.AetherError:
        return 0


class Contract(StoreContract):
    """The contract takes a blocking store through an adapter."""

    async def through_an_adapter(self) -> None:
        """Use it as an async one."""
        store = as_async(sync.InMemoryEventStore())
        await awaited(store, store)
        with Clock() as clock:
            clock.advance(1.5)
        assert_type(HOSTILE_IDS, tuple[str, ...])
