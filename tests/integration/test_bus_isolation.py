"""A namespace sees nothing of another one, whatever ids and types contain."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.dump import stock_client

from aether import CorruptEventError, Event, NATSEventBus
from aether._native import bus_body
from aether.nats.portable_flush import RoundTrips
from aether.testing.contract_ids import HOSTILE_IDS

if TYPE_CHECKING:
    from aether import EmbeddedServer


async def test_namespaces_that_begin_alike_see_nothing_of_each_other(nats_server: EmbeddedServer, namespace: str) -> None:
    """`shop` and `shop-eu` each see their own events under hostile ids and types, and an operator sees both, told apart."""
    shop, shop_eu = namespace[:50], f"{namespace[:50]}-eu"
    async with NATSEventBus(nats_server.url, namespace=shop) as ours, NATSEventBus(nats_server.url, namespace=shop_eu) as theirs:
        in_ours, in_theirs = await ours.subscribe(), await theirs.subscribe()
        in_all = await ours.subscribe(all_namespaces=True)
        sent = {
            bus: [Event(name, kind, 1) for name, kind in zip(HOSTILE_IDS, reversed(HOSTILE_IDS), strict=True)]
            for bus in (ours, theirs)
        }
        for bus, events in sent.items():
            await bus.publish_many(events)
            await bus.publish(Event("end", "End", 1))
        for bus, subscription in ((ours, in_ours), (theirs, in_theirs)):
            assert [event.id async for event in until_end(subscription)] == [event.id for event in sent[bus]]
        heard: dict[str, list[object]] = {shop: [], shop_eu: []}
        ends = 0
        async with asyncio.timeout(60):
            async for name, event in in_all.namespaced():
                if name not in heard:
                    continue  # other tests' events
                heard[name].append(event.id)
                ends += event.event_type == "End"
                if ends == 2:
                    break
        assert [ids[:-1] for ids in heard.values()] == [[event.id for event in events] for events in sent.values()]


async def until_end(subscription):
    """Yield events up to the last one."""
    async with asyncio.timeout(60):
        async for event in subscription:
            if event.event_type == "End":
                break
            yield event


async def test_every_hostile_name_is_literal(nats_server: EmbeddedServer, namespace: str) -> None:
    """A subscription to a hostile id, type or beginning takes exactly the events that have it."""
    async with (
        NATSEventBus(nats_server.url, namespace=namespace) as ours,
        NATSEventBus(nats_server.url, namespace=namespace) as other,
    ):
        by_id = [await ours.subscribe(actor_id=name) for name in HOSTILE_IDS]
        by_type = [await ours.subscribe(event_type=name) for name in HOSTILE_IDS]
        by_beginning = [await ours.subscribe(actor_prefix=name) for name in HOSTILE_IDS]
        events = [Event(name, kind, 1) for name, kind in zip(HOSTILE_IDS, reversed(HOSTILE_IDS), strict=True)]
        everything = await ours.subscribe()
        await other.publish_many(events)
        await other.publish(Event("the end of it", "End", 1))
        assert [event.id async for event in until_end(everything)] == [event.id for event in events]
        for subscription, name in zip(by_id, HOSTILE_IDS, strict=True):
            assert await pending(subscription) == [event.id for event in events if event.actor_id == name]
        for subscription, name in zip(by_type, HOSTILE_IDS, strict=True):
            assert await pending(subscription) == [event.id for event in events if event.event_type == name]
        for subscription, name in zip(by_beginning, HOSTILE_IDS, strict=True):
            assert await pending(subscription) == [event.id for event in events if event.actor_id.startswith(name)]


async def pending(subscription) -> list[object]:
    """Return what is there."""
    return [(await anext(subscription)).id for _ in range(subscription.stats().pending)]


@pytest.mark.parametrize("what", ["foreign bytes", "another's event", "cut", "another namespace's subject"])
async def test_what_is_no_event_of_its_subject_is_told_and_passed(nats_server: EmbeddedServer, namespace: str, what: str) -> None:
    """A damaged or foreign message is a `CorruptEventError` that names its subject, counted, and reading goes on behind it."""
    body = bus_body(Event("a", "t", 1, {"n": 1}))
    subject, body = {
        "foreign bytes": (f"aether-bus.{namespace}.a.t", b"hello"),
        "another's event": (f"aether-bus.{namespace}.b.t", body),
        "cut": (f"aether-bus.{namespace}.a.t", body[:-3]),
        "another namespace's subject": (f"aether-bus.{namespace}.a.u", body),
    }[what]
    async with (
        stock_client(nats_server.url) as client,
        NATSEventBus(nats_server.url, namespace=namespace) as bus,
        await bus.subscribe() as subscription,
    ):
        await client.publish(subject, body)
        await RoundTrips(client).begin()  # a single flush of nats-py may overtake what was published
        await bus.publish(Event("a", "t", 2))
        async with asyncio.timeout(60):
            with pytest.raises(CorruptEventError) as error:
                await anext(subscription)
            assert error.value.stream == subject
            assert (await anext(subscription)).version == 2
        assert subscription.stats()[:4] == (1, 0, 0, 1)
