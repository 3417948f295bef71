"""The lane cut at every byte of an exchange, in either direction: every call succeeds all the same, and has one effect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.dump import dump
from faults.history import History, violations
from faults.tap import Plan, Tap, once
from faults.waiting import until

from aether import Event, JetStreamEventStore, NewEvent

if TYPE_CHECKING:
    from conftest import Size

    from aether import EmbeddedServer


async def exchange(store: JetStreamEventStore, history: History, actor_id: str) -> None:
    """Connect, save, append, read the head, read several messages at once, and scan; all must succeed."""

    async def save() -> tuple[int, int]:
        return 1, await store.save_event(Event(actor_id, "t", 1, id=f"{actor_id}-1"))

    told = [await history.write(actor_id, f"{actor_id}-1", 1, save())]
    for version in (2, 3):
        new = NewEvent("t", id=f"{actor_id}-{version}")
        told.append(await history.write(actor_id, new.id, 0, store.append(actor_id, new)))
    assert [(write.told, write.version) for write in told] == [("acked", 1), ("acked", 2), ("acked", 3)]
    await history.read(actor_id, store.get_events(actor_id))
    assert [version for version, _ in history.reads[-1].seen] == [1, 2, 3]
    log, until_s = store._events, asyncio.get_running_loop().time() + 10
    subject = await subject_at(store, told[0].position, until_s)
    scanned = [message.position async for batch in log.scan(subject, 0, told[2].position, lambda: until_s) for message in batch]
    assert scanned == [write.position for write in told]


async def subject_at(store: JetStreamEventStore, position: int, deadline: float) -> str:
    """The subject of the message at a position, by a request for several."""
    (part,) = [batch async for batch in store._events.at([position], deadline, 100)]
    return part[0].subject


@pytest.mark.timeout(600)
@pytest.mark.parametrize("way", ["down", "up"])
async def test_a_lane_cut_at_any_byte_loses_and_doubles_nothing(
    nats_server: EmbeddedServer, namespace: str, size: Size, way: str
) -> None:
    """Wherever the bytes of an exchange end, its calls succeed on the next lane, what is acked is stored, and stored once."""
    history = History()
    async with Tap(nats_server.url) as tap, JetStreamEventStore(tap.url, namespace=namespace) as store:
        await store.append("first", NewEvent("t", id="first"))

        async def run(plan: Plan, name: str) -> int:
            """Let the next lane follow the plan, work, and return how far it got without being cut."""
            before = tap.lane
            tap.plan = once(plan)
            before.cut()
            await until(lambda: before not in tap.links and not store._connection._carrier.transport.is_open())
            await exchange(store, history, name)
            return tap.lane.sent_down if way == "down" else tap.lane.sent_up

        total = await run(Plan(), "whole")
        assert total > 1000
        for at in range(0, total + 1, size.pick(23, 1, 1)):
            await run(Plan(**{f"cut_{way}_at": at}), f"cut-{at}")
    stored = [message for message in await dump(nats_server.url, namespace) if message.commit["actor"] != "first"]
    assert violations(history, stored, contiguous=True) == []
    assert {write.told for write in history.writes} == {"acked"}
