"""Fills a namespace with many commits quickly: what a single writer that knows every head would send, over stock nats-py.

Guards and spines are exactly those of the store, so the streams are like any other; only the waiting for each ack is left out
(a window of acks is in flight).
"""

from __future__ import annotations

import asyncio
import itertools
from typing import TYPE_CHECKING

import nats

from aether import Event
from aether._native import Head, actor_subject, encode_commit
from aether.nats.stream_log import GUARD, guard_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW = 4096
MAX_BYTES = 1_048_576


def spread(messages: int, targets: int, commits_each: int, others: int) -> Iterable[str]:
    """Name the actor of each message: a few targets with `commits_each` commits, evenly spread among many others."""
    every = messages // commits_each
    background = itertools.cycle(f"other-{number}" for number in range(others))
    for place in range(messages):
        turn = place % every
        yield f"target-{turn}" if turn < targets else next(background)


async def fill(url: str, namespace: str, actors: Iterable[str]) -> int:
    """Append one event to each named actor in turn; return how many. The streams must be there, and empty."""
    client = await nats.connect(url, pending_size=64 * 2**20)
    inbox = client.new_inbox()
    refused: list[bytes] = []
    room = asyncio.Semaphore(WINDOW)

    async def acked(msg) -> None:
        room.release()
        if b'"error"' in msg.data:
            refused.append(msg.data)

    await client.subscribe(inbox, cb=acked)
    heads: dict[str, Head] = {}
    sent = 0
    for sent, actor_id in enumerate(actors, 1):
        head = heads.get(actor_id, Head())
        event = Event(actor_id, "Moved", head.version + 1, {"to": sent, "by": "conveyor-7", "weight_kg": 12.5})
        body = encode_commit(actor_id, [event], head, header_bytes=guard_bytes(head.sequence), bytes_max=MAX_BYTES)
        await room.acquire()
        await client.publish(actor_subject(namespace, actor_id), body, inbox, {GUARD: str(head.sequence)})
        heads[actor_id] = head.after(event.version, sent)
    for _ in range(WINDOW):
        await asyncio.wait_for(room.acquire(), 30)
    await client.close()
    assert not refused, refused[0]
    return sent
