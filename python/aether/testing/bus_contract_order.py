"""The bus contract: order per publisher, and exact accounting whatever happens at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.event import Event
from aether.testing.bus_contract_base import BusCase, events, read, soon, versions

if TYPE_CHECKING:
    from aether.bus.base import EventBus, Subscription

__all__ = ["OrderContract"]


class OrderContract(BusCase):
    """Many at once."""

    async def test_one_by_one_and_many_keep_their_order(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """What one task publishes arrives in that order, by `publish`, `publish_many` and `request` in turns."""

        def answer(event: Event) -> int:
            return event.version

        async with (
            await bus.subscribe(actor_id=actor) as subscription,
            await bus.subscribe(actor_id=actor, event_type="Asked", handler=answer),
        ):
            for start in range(1, 400, 8):
                await peer.publish(*events(actor, [start]))
                await peer.publish_many(events(actor, range(start + 1, start + 7)))
                assert await peer.request(Event(actor, "Asked", start + 7)) == start + 7
            assert versions(await read(subscription, 400)) == [*range(1, 401)]

    async def test_each_publisher_keeps_its_order(self, bus: EventBus, peer: EventBus, actor: str, kind: str) -> None:
        """Of 8 publishers at once, each one's events arrive whole and in its order at each of 4 subscribers."""
        subscriptions = [
            await bus.subscribe(actor_prefix=f"{actor}-"),
            await peer.subscribe(event_type=kind),
            await bus.subscribe(event_type=kind, actor_prefix=actor),
            await peer.subscribe(actor_prefix=f"{actor}-"),
        ]

        async def publisher(number: int) -> None:
            handle = (bus, peer)[number % 2]
            for start in range(1, 201, 20):
                await handle.publish_many(events(f"{actor}-{number}", range(start, start + 19), kind))
                await handle.publish(*events(f"{actor}-{number}", [start + 19], kind))

        reading = asyncio.gather(*(read(subscription, 1600) for subscription in subscriptions))
        await soon(asyncio.gather(*(publisher(number) for number in range(8))))
        for received in await reading:
            for number in range(8):
                mine = [event.version for event in received if event.actor_id == f"{actor}-{number}"]
                assert mine == [*range(1, 201)]

    async def test_coming_and_going_costs_nobody_anything(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """While others subscribe, read and leave, each subscription hears all that is published between its own two ends.

        It hears each publisher from the first event published after `subscribe` returned at the latest, and without a gap; and
        one that is there all the time hears everything.
        """
        begun = dict.fromkeys((f"{actor}-{number}" for number in range(4)), 0)
        visits = 0
        over = asyncio.Event()

        async def publisher(name: str, handle: EventBus) -> None:
            while not over.is_set():
                batch = events(name, range(begun[name] + 1, begun[name] + 8))
                begun[name] += 7
                await handle.publish_many(batch)
                await asyncio.sleep(0)
            await handle.publish(Event(name, "Over", begun[name] + 1))

        async def visitor(handle: EventBus) -> None:
            nonlocal visits
            for _ in range(6):
                async with await handle.subscribe(actor_prefix=f"{actor}-", event_type="Happened") as subscription:
                    before = dict(begun)
                    found = await read(subscription, 40)
                    stats = subscription.stats()
                assert stats[:3] == (40, stats.pending, 0)
                for name, mine in _by_actor(found).items():
                    assert mine == [*range(mine[0], mine[0] + len(mine))]
                    assert mine[0] <= before[name] + 1
                visits += 1

        async with await bus.subscribe(actor_prefix=f"{actor}-") as always:
            reading = asyncio.create_task(_until_over(always, len(begun)))
            publishers = [asyncio.create_task(publisher(name, (bus, peer)[index % 2])) for index, name in enumerate(begun)]
            await soon(asyncio.gather(*(visitor((bus, peer)[index % 2]) for index in range(8))))
            over.set()
            await soon(asyncio.gather(*publishers))
            found = await soon(reading)
            assert always.stats()[:3] == (len(found), 0, 0)
        assert visits == 48
        assert _by_actor(found) == {name: [*range(1, last + 2)] for name, last in begun.items()}


async def _until_over(always: Subscription, publishers: int) -> list[Event]:
    """Read until each publisher said that it is over."""
    found: list[Event] = []
    async for batch in always.batches():
        found += batch
        publishers -= sum(event.event_type == "Over" for event in batch)
        if not publishers:
            break
    return found


def _by_actor(found: list[Event]) -> dict[str, list[int]]:
    names: dict[str, list[int]] = {}
    for event in found:
        names.setdefault(event.actor_id, []).append(event.version)
    return names
