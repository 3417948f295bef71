"""Typed code with mistakes: mypy refuses each line that says so, for the reason that it says, and no other line."""

from __future__ import annotations

import aether
from aether import sync


async def awaited(store: aether.JetStreamEventStore, event: aether.Event, draft: aether.NewEvent) -> None:
    """Mistakes with the async face."""
    store.append("order-1", draft)  # refused: unused-coroutine
    store.get_events("order-1")[0]  # refused: index
    await store.append("order-1", event)  # refused: arg-type
    await store.append("order-1", draft, 3)  # refused: call-arg
    await store.save_event(draft)  # refused: arg-type
    await store.get_events(7)  # refused: arg-type
    await store.get_events("order-1", "1")  # refused: arg-type
    await store.read_events("order-1")  # refused: misc
    for _batch in store.read_events("order-1"):  # refused: attr-defined
        pass
    store.close()  # refused: attr-defined
    with store:  # refused: attr-defined
        pass


def blocking(store: sync.JetStreamEventStore, event: sync.Event, draft: sync.NewEvent) -> None:
    """Mistakes with the blocking face."""
    store.append("order-1", event)  # refused: arg-type
    store.append("order-1", draft, 3)  # refused: call-arg
    store.save_event(draft)  # refused: arg-type
    store.get_events("order-1", limit="3")  # refused: arg-type
    version = store.get_events("order-1").version  # refused: attr-defined
    store.aclose(version)  # refused: attr-defined
    store.read_events("order-1").__anext__()  # refused: attr-defined


async def awaited_anything(*_values: object) -> None:
    """Take anything."""


async def mixed(store: sync.JetStreamEventStore, draft: sync.NewEvent) -> None:
    """Mistakes between the two."""
    await store.append("order-1", draft)  # refused: misc
    async with store:  # refused: attr-defined
        pass
    as_async: aether.EventStore = store  # refused: assignment
    as_sync: sync.EventStore = aether.InMemoryEventStore()  # refused: assignment
    await awaited_anything(as_async, as_sync)


async def buses(bus: aether.EventBus, blocking_bus: sync.EventBus, event: aether.Event, draft: aether.NewEvent) -> None:
    """Mistakes with buses."""
    bus.publish(event)  # refused: unused-coroutine
    await bus.publish(draft)  # refused: arg-type
    await bus.publish_many(event)  # refused: arg-type
    await bus.subscribe("order-1")  # refused: call-arg
    await bus.subscribe(policy="newest")  # refused: arg-type
    await bus.subscribe(on_error="ignore")  # refused: arg-type
    async with bus.subscribe():  # refused: attr-defined
        pass
    for _event in await bus.subscribe():  # refused: attr-defined
        pass
    async with blocking_bus:  # refused: attr-defined
        pass
    aether.PublishingEventStore(bus, aether.InMemoryEventStore())  # refused: arg-type

    @bus.on(dict)  # refused: arg-type
    def handler(event: aether.Event) -> None:
        del event


def values(event: aether.Event) -> None:
    """Mistakes with values."""
    event.version = 2  # refused: misc
    aether.Event("order-1", "Paid")  # refused: call-arg
    aether.Event("order-1", "Paid", "1")  # refused: arg-type
    aether.NewEvent("Paid", None, "id")  # refused: call-arg
    aether.Appended(1)  # refused: call-arg
    sync.InMemoryEventStore(max_events=event.actor)  # refused: attr-defined
    sync.JetStreamEventStore(aether.InMemoryEventStore())  # refused: arg-type
    sync.JetStreamEventStore("nats://localhost", storage="disk")  # refused: arg-type
