"""Witnesses, and how much is missed of what other servers take at once after their proof."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from feeding import Listener, due, events_of, publish

from aether.nats.witnesses import Witnesses

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether import ConnectOptions
    from aether.nats.transport import Transport

EVENTS = 20
"""How many events each publisher publishes at once."""


@asynccontextmanager
async def witnesses(options: ConnectOptions | None = None, timeout_s: float = 30.0) -> AsyncIterator[tuple[Witnesses, list[str]]]:
    """Witnesses, and what they told of interruptions."""
    told: list[str] = []
    made = Witnesses(timeout_s, told.append, options)
    try:
        yield made, told
    finally:
        await made.aclose()


async def missed(transport: Transport, publishers: list[Transport], proof: Witnesses, name: str, turns: int) -> int:
    """Subscribe, prove, and let all publish at once, again and again; return how many events did not come."""
    missing = 0
    for turn in range(turns):
        listener, events = Listener(f"{name}-{turn}"), events_of("a", EVENTS)
        feed = await listener.listen(transport)
        await proof.prove(transport, due())
        await asyncio.gather(*(publish(publisher, listener.namespace, events) for publisher in publishers))
        # What is published after these on the same connections comes after them; so what is not there by then never comes.
        last = Listener(f"{name}-{turn}-end")
        await last.listen(transport)
        await until_heard(last, transport, publishers)
        heard = listener.taken()
        missing += len(publishers) * EVENTS - len(heard)
        if not missing:
            assert {event.version for event in heard} == set(range(1, EVENTS + 1))
        await feed.aclose()
    return missing


async def until_heard(last: Listener, transport: Transport, publishers: list[Transport]) -> None:
    """Wait until something that each publisher publishes now is heard."""
    heard: set[str] = set()
    async with asyncio.timeout(60):
        while len(heard) < len(publishers):
            for number, publisher in enumerate(publishers):
                await publish(publisher, last.namespace, events_of(f"{number}", 1))
            await transport.flush(due())
            heard |= {event.actor_id for event in last.taken()}


def names_instead(transport: Transport, url: str, *other: str) -> None:
    """Let the server of this transport seem to name other addresses in the place of one."""
    info = transport.info
    assert url.removeprefix("nats://") in info.connect_urls
    kept = [named for named in info.connect_urls if named != url.removeprefix("nats://")]
    info.connect_urls = [*kept, *(address.removeprefix("nats://") for address in other)]
