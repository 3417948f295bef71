"""The bus contract: who gets what is published, and that it is the very same."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from aether.errors import CommitTooLargeError
from aether.event import Event
from aether.testing.bus_contract_base import BusCase, events, read, soon, versions
from aether.testing.contract_ids import HOSTILE_IDS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aether.bus.base import EventBus

__all__ = ["PublishingContract"]

PREFIXES = ("*", ">", "=", ".", " ", "é", "order-1", "x", "a" * 254, "日")
"""Beginnings of hostile ids, some of which are patterns elsewhere."""


class PublishingContract(BusCase):
    """Publishers and those who hear them."""

    async def test_an_event_arrives_as_it_is(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """An event that another handle publishes is received equal as a whole: id, type, version, time, data, metadata."""
        sent = Event(
            actor,
            "Happened",
            7,
            {"n": [1, None, 1.5, b"x", "é", {"a": True}]},
            id="an id of its own",
            timestamp=datetime(2026, 3, 1, 12, 30, 15, 123_456, tzinfo=UTC),
            metadata={"correlation_id": "c", "k": "v"},
        )
        async with await bus.subscribe(actor_id=actor) as subscription:
            await peer.publish(sent)
            [found] = await read(subscription, 1)
        assert found == sent
        assert (found.payload, found.time_ns, found.metadata) == (sent.payload, sent.time_ns, sent.metadata)

    async def test_it_is_heard_at_home(self, bus: EventBus, actor: str) -> None:
        """A bus hears what it publishes itself, in every one of its subscriptions."""
        subscriptions = [await bus.subscribe(actor_id=actor) for _ in range(3)]
        [sent] = events(actor, [1])
        await bus.publish(sent)
        for subscription in subscriptions:
            assert await read(subscription, 1) == [sent]

    async def test_a_subscription_is_ready_when_it_returns(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """What is published as soon as `subscribe` returned is never missed, from wherever it comes."""
        for version in range(1, 51):
            async with await bus.subscribe(actor_id=actor) as subscription:
                await peer.publish(*events(actor, [version]))
                assert versions(await read(subscription, 1)) == [version]

    async def test_what_was_published_before_is_not_heard(self, bus: EventBus, actor: str) -> None:
        """A subscription hears nothing that the same bus published before it."""
        await bus.publish(*events(actor, [1]))
        await bus.flush()
        async with await bus.subscribe(actor_id=actor) as subscription:
            await bus.publish(*events(actor, [2]))
            assert versions(await read(subscription, 1)) == [2]

    @pytest.mark.parametrize("source", ["list", "tuple", "generator"])
    async def test_many_arrive_in_order(self, bus: EventBus, peer: EventBus, actor: str, source: str) -> None:
        """What `publish_many` is given arrives whole and in order, from whatever it is read."""
        sent = events(actor, range(1, 2001))
        given: Any = {"list": sent, "tuple": tuple(sent), "generator": (event for event in sent)}[source]
        async with await bus.subscribe(actor_id=actor) as subscription:
            await peer.publish_many(given)
            assert await read(subscription, 2000) == sent

    async def test_nothing_is_published_of_nothing(self, bus: EventBus, actor: str) -> None:
        """`publish_many` takes an empty list, and an empty generator."""
        async with await bus.subscribe(actor_id=actor) as subscription:
            await bus.publish_many([])
            await bus.publish_many(iter(()))
            await bus.publish(*events(actor, [1]))
            assert versions(await read(subscription, 1)) == [1]

    async def test_what_came_before_a_wrong_item_is_published(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A generator that raises, or yields no event, loses nothing that it gave before."""

        def broken() -> Iterator[Event]:
            yield from events(actor, [1, 2])
            raise LookupError("no more")

        async with await bus.subscribe(actor_id=actor) as subscription:
            with pytest.raises(LookupError, match="no more"):
                await peer.publish_many(broken())
            with pytest.raises(TypeError, match="Event"):
                await peer.publish_many([*events(actor, [3]), "no event"])  # type: ignore[list-item]  # wrong on purpose
            await peer.publish(*events(actor, [4]))
            assert versions(await read(subscription, 4)) == [1, 2, 3, 4]

    async def test_each_hears_what_it_asked_for(self, bus: EventBus, peer: EventBus, actor: str, kind: str) -> None:
        """By actor, by type, by both, by prefix, or everything: each subscription gets exactly what fits, in order."""
        other = f"{kind}Else"
        sent = [
            Event(f"{actor}{end}", event_type, version)
            for version in (1, 2, 3)
            for end in ("", "-1", "-10", "-2")
            for event_type in (kind, other)
        ]
        asked: list[dict[str, str]] = [
            {"actor_id": actor},
            {"event_type": kind},
            {"actor_id": f"{actor}-1", "event_type": kind},
            {"actor_prefix": f"{actor}-1"},
            {"actor_prefix": f"{actor}-1", "event_type": other},
            {"actor_prefix": actor},
            {},
        ]
        subscriptions = [await bus.subscribe(**options) for options in asked]  # type: ignore[arg-type]  # strings all
        await peer.publish_many(sent)
        for options, subscription in zip(asked, subscriptions, strict=True):
            wanted = [event for event in sent if _fits(event, options)]
            assert await read(subscription, len(wanted)) == wanted, options
            assert subscription.stats().pending == 0, options

    async def test_any_name_is_literal(self, bus: EventBus, peer: EventBus) -> None:
        """Every hostile id, as an actor and as a type, is heard by who subscribed to just it, and by nobody else."""
        by_actor = {name: await bus.subscribe(actor_id=name) for name in HOSTILE_IDS}
        by_both = {name: await bus.subscribe(actor_id=name, event_type=name) for name in HOSTILE_IDS}
        sent = [Event(name, name, version, name) for version in (1, 2) for name in HOSTILE_IDS]
        await peer.publish_many(sent)
        for name in HOSTILE_IDS:
            wanted = [event for event in sent if event.actor_id == name]
            for subscription in (by_actor[name], by_both[name]):
                assert (await read(subscription, 2), subscription.stats().pending) == (wanted, 0), name
        await asyncio.gather(*(subscription.aclose() for subscription in (*by_actor.values(), *by_both.values())))

    async def test_any_beginning_is_literal(self, bus: EventBus, peer: EventBus) -> None:
        """A prefix is the beginning of ids and no pattern, whatever its characters are."""
        subscriptions = {prefix: await bus.subscribe(actor_prefix=prefix) for prefix in PREFIXES}
        sent = [Event(name, "Happened", 1) for name in HOSTILE_IDS]
        await peer.publish_many(sent)
        for prefix, subscription in subscriptions.items():
            wanted = [event for event in sent if event.actor_id.startswith(prefix)]
            assert wanted
            assert await read(subscription, len(wanted)) == wanted, prefix
            assert subscription.stats().pending == 0, prefix

    async def test_a_large_event_arrives(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """An event of 900,000 bytes arrives, between its neighbours."""
        sent = [*events(actor, [1]), *events(actor, [2], data=b"x" * 900_000), *events(actor, [3])]
        async with await bus.subscribe(actor_id=actor) as subscription:
            await peer.publish_many(sent)
            assert await read(subscription, 3) == sent

    async def test_a_too_large_event_is_refused(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """An event beyond the bus's bound is refused with its size and the bound; what came before it is sent."""
        too_large = Event(actor, "Happened", 3, b"x" * (self.event_bytes_max - 60_000), metadata={"k": "x" * 65_000})
        async with await bus.subscribe(actor_id=actor) as subscription:
            with pytest.raises(CommitTooLargeError) as caught:
                await peer.publish_many([*events(actor, [1, 2]), too_large, *events(actor, [4])])
            assert (caught.value.actor_id, caught.value.limit) == (actor, self.event_bytes_max)
            assert caught.value.size > self.event_bytes_max
            with pytest.raises(CommitTooLargeError):
                await peer.publish(too_large)
            with pytest.raises(CommitTooLargeError):
                await peer.request(too_large)
            await peer.publish(*events(actor, [5]))
            assert versions(await read(subscription, 3)) == [1, 2, 5]

    async def test_a_flush_returns(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A flush returns, with something published before and without, and changes nothing of what arrives."""
        await soon(peer.flush())
        async with await bus.subscribe(actor_id=actor) as subscription:
            for version in (1, 2, 3):
                await peer.publish(*events(actor, [version]))
                await soon(peer.flush())
            assert versions(await read(subscription, 3)) == [1, 2, 3]


def _fits(event: Event, options: dict[str, str]) -> bool:
    return (
        options.get("actor_id", event.actor_id) == event.actor_id
        and options.get("event_type", event.event_type) == event.event_type
        and event.actor_id.startswith(options.get("actor_prefix", ""))
    )
