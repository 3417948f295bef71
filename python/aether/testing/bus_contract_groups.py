"""The bus contract: groups. Of those who share the work, each event goes to exactly one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.event import Event
from aether.testing.bus_contract_base import BusCase, events, read, until, versions

if TYPE_CHECKING:
    from aether.bus.base import EventBus, Subscription

__all__ = ["GroupsContract"]


async def shared(members: list[Subscription], count: int) -> list[list[int]]:
    """Return what each member got, once so many events have reached them together."""
    await until(lambda: sum(member.stats().pending for member in members) == count)
    return [versions(await read(member, member.stats().pending)) for member in members]


class GroupsContract(BusCase):
    """Members and others."""

    async def test_each_event_goes_to_one_member(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Of three members, on several handles, each event goes to exactly one, none goes without, and each keeps the order."""
        members = [await handle.subscribe(actor_id=actor, group="workers") for handle in (bus, peer, bus)]
        await peer.publish_many(events(actor, range(1, 301)))
        got = await shared(members, 300)
        assert sorted(version for part in got for version in part) == [*range(1, 301)]
        assert all(got)
        assert all(part == sorted(part) for part in got)

    async def test_groups_and_others_do_not_share(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Each group gets everything once, and so does each subscription in no group."""
        first = [await bus.subscribe(actor_id=actor, group="a"), await peer.subscribe(actor_id=actor, group="a")]
        second = [await peer.subscribe(actor_id=actor, group="b")]
        others = [await bus.subscribe(actor_id=actor), await bus.subscribe(actor_id=actor)]
        await bus.publish_many(events(actor, range(1, 51)))
        for members in (first, second, others[:1], others[1:]):
            got = await shared(members, 50)
            assert sorted(version for part in got for version in part) == [*range(1, 51)]

    async def test_members_come_and_go(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Who joins shares from then on, who leaves gets nothing more, and each event still goes to exactly one."""
        first = await bus.subscribe(actor_id=actor, group="workers")
        await peer.publish_many(events(actor, range(1, 51)))
        assert await shared([first], 50) == [[*range(1, 51)]]
        second = await peer.subscribe(actor_id=actor, group="workers")
        await peer.publish_many(events(actor, range(51, 251)))
        got = await shared([first, second], 200)
        assert sorted(got[0] + got[1]) == [*range(51, 251)]
        assert all(got)
        await first.aclose()
        await peer.flush()
        before = first.stats()
        await peer.publish_many(events(actor, range(251, 301)))
        assert await shared([second], 50) == [[*range(251, 301)]]
        assert first.stats() == before

    async def test_handlers_share(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Handlers of a group are called once for each event, together."""
        found: list[int] = []

        async def handler(event: Event) -> None:
            await asyncio.sleep(0)
            found.append(event.version)

        members = [await handle.subscribe(actor_id=actor, group="workers", handler=handler) for handle in (bus, peer)]
        await peer.publish_many(events(actor, range(1, 101)))
        await until(lambda: len(found) >= 100)
        await asyncio.sleep(0)
        assert sorted(found) == [*range(1, 101)]
        assert sum(member.stats().delivered for member in members) == 100

    async def test_an_event_goes_to_a_member_that_wants_it(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Members that want different events of one group get what they want; what both want goes to one of them."""
        one = await bus.subscribe(actor_id=actor, event_type="One", group="workers")
        two = await peer.subscribe(actor_id=actor, event_type="Two", group="workers")
        both = await bus.subscribe(actor_id=actor, group="workers")
        sent = [Event(actor, kind, version) for version in range(1, 101) for kind in ("One", "Two", "Three")]
        await peer.publish_many(sent)
        await until(lambda: sum(member.stats().pending for member in (one, two, both)) == 300)
        got = [await read(member, member.stats().pending) for member in (one, two, both)]
        assert {event.event_type for event in got[0]} <= {"One"}
        assert {event.event_type for event in got[1]} <= {"Two"}
        assert {event.event_type for event in got[2]} >= {"Three"}
        assert {event.id for part in got for event in part} == {event.id for event in sent}

    async def test_other_beginnings_are_other_groups(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """Members with different prefixes are different groups, so each of these hears what begins as it asked."""
        short = await bus.subscribe(actor_prefix=actor, group="workers")
        long = await bus.subscribe(actor_prefix=f"{actor}-1", group="workers")
        await peer.publish_many([event for name in ("-1", "-2") for event in events(f"{actor}{name}", range(1, 21))])
        assert versions(await read(short, 40)) == [*range(1, 21), *range(1, 21)]
        assert versions(await read(long, 20)) == [*range(1, 21)]

    async def test_any_name_is_a_group(self, bus: EventBus, peer: EventBus, actor: str) -> None:
        """A group's name is literal: names that are patterns or have spaces are groups of their own."""
        names = ("*", ">", "a b", "a", "é", "x.y", "a\r\nb", "=2A", "g" * 255)
        members = [await bus.subscribe(actor_id=actor, group=name) for name in names]
        await peer.publish_many(events(actor, [1, 2]))
        for member in members:
            assert versions(await read(member, 2)) == [1, 2]
