"""The native parts of the buses, without network and loop: messages read and handed out, events fanned out, frames made.

Beside reading stands nats-py's own parser with msgspec, on the same bytes; beside fanning out and making frames the plain Python
that a careful author writes, with bounds, counters and a lock. `python benches/bench_mailbox.py` shows the ratios and targets.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from threading import Lock
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from nats.protocol.parser import Parser

from aether import Event
from aether._native import EventFilter, Exchange, FrameReader, Mailbox, bus_body, bus_subject, publish_events
from aether.bench.measure import CPU, Line, Side, Target, compare
from payloads import PAYLOADS
from reporting import report

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.bench.setting import Setting

COUNT = 2_000
BATCH = 1_000
CHUNK_BYTES = 65_536
MAX_EVENTS, MAX_BYTES = 65_536, 64 * 2**20

EVENTS = [Event(f"order-{n % 100}", "OrderPlaced", n // 100 + 1, PAYLOADS["small"]) for n in range(COUNT)]
BATCHES = [EVENTS[at : at + BATCH] for at in range(0, COUNT, BATCH)]
MESSAGES = [(bus_subject("shop", event), bus_body(event)) for event in EVENTS]
WIRE = b"".join(b"MSG %s 7 %d\r\n%s\r\n" % (subject.encode(), len(body), body) for subject, body in MESSAGES)
CHUNKS = [WIRE[at : at + CHUNK_BYTES] for at in range(0, len(WIRE), CHUNK_BYTES)]


def boxes(exchange: Exchange, subscribers: int) -> list[Mailbox]:
    """Mailboxes that take everything."""
    made = [Mailbox(EventFilter(), MAX_EVENTS, MAX_BYTES, "error") for _ in range(subscribers)]
    for mailbox in made:
        exchange.attach(mailbox)
    return made


def read_ours(subscribers: int) -> int:
    """Read the bytes, take the events out of each mailbox and look at the data of one."""
    exchange, reader, looked = Exchange("shop"), FrameReader("mine."), 0
    mailboxes = boxes(exchange, subscribers)
    reader.attach_messages(7, exchange)
    for chunk in CHUNKS:
        reader.feed(chunk)
        for mailbox in mailboxes:
            while events := mailbox.take(BATCH):
                looked += sum(event.data is not None for event in events)
    return looked


class Heard:
    """The client that nats-py's parser calls for each message, as its subscriptions' callbacks would be."""

    def __init__(self, subscribers: int) -> None:
        self.looked, self._subscribers = 0, subscribers

    async def _process_msg(self, _sid: int, _subject: bytes, _reply: bytes, data: bytes, _headers: bytes | None) -> None:
        for _ in range(self._subscribers):
            decoded: Any = msgspec.msgpack.decode(data)
            self.looked += decoded["events"][0]["data"] is not None


async def read_theirs(subscribers: int) -> int:
    """The same with nats-py's parser, each subscription decoding for itself."""
    heard = Heard(subscribers)
    parser = Parser(heard)
    for chunk in CHUNKS:
        await parser.parse(chunk)
    return heard.looked


class PlainBus:
    """Subscribers with a test and a bounded queue each, under one lock."""

    def __init__(self) -> None:
        self._lock = Lock()
        self.queues: list[tuple[Callable[[Event], bool], deque[Event]]] = []
        self.missed = 0

    def publish(self, events: list[Event]) -> None:
        """Give each event to those who want it and have room."""
        with self._lock:
            for event in events:
                for wants, queue in self.queues:
                    if wants(event):
                        if len(queue) < MAX_EVENTS:
                            queue.append(event)
                        else:
                            self.missed += 1

    def take(self, queue: deque[Event], limit: int) -> list[Event]:
        """Take what waits."""
        with self._lock:
            return [queue.popleft() for _ in range(min(limit, len(queue)))]


def fan_out_ours(subscribers: int) -> int:
    """Publish, and take from each."""
    exchange, taken = Exchange("shop"), 0
    mailboxes = boxes(exchange, subscribers)
    for batch in BATCHES:
        exchange.publish(batch)
        for mailbox in mailboxes:
            taken += len(mailbox.take(BATCH))
    return taken


def fan_out_plainly(subscribers: int) -> int:
    """The same in plain Python."""
    bus, taken = PlainBus(), 0
    bus.queues += [(lambda _: True, deque()) for _ in range(subscribers)]
    for batch in BATCHES:
        bus.publish(batch)
        for _, queue in bus.queues:
            taken += len(bus.take(queue, BATCH))
    return taken


def frames_ours(_: object = None) -> list[bytes]:
    """The frames of all events, a write's worth of bytes each."""
    return [publish_events("shop", batch, 0, 2**20, 2**24)[0] for batch in BATCHES]


def frames_plainly(_: object = None) -> list[bytes]:
    """The same, bodies and subjects made one by one and framed as nats-py does it."""
    writes = []
    for batch in BATCHES:
        frames = []
        for event in batch:
            body = bus_body(event)
            frames.append(b"PUB %s %d\r\n%s\r\n" % (bus_subject("shop", event).encode(), len(body), body))
        writes.append(b"".join(frames))
    return writes


@pytest.mark.parametrize("subscribers", [1, 10])
def test_reading(benchmark: Any, subscribers: int) -> None:
    """Both sides look at the data of every event, for each subscriber."""
    assert benchmark(read_ours, subscribers) == asyncio.run(read_theirs(subscribers)) == COUNT * subscribers


@pytest.mark.parametrize("subscribers", [1, 10])
def test_fanning_out(benchmark: Any, subscribers: int) -> None:
    """Both sides hand every event to each subscriber."""
    assert benchmark(fan_out_ours, subscribers) == fan_out_plainly(subscribers) == COUNT * subscribers


def test_frames(benchmark: Any) -> None:
    """Both sides make the same bytes."""
    assert benchmark(frames_ours) == frames_plainly()


async def lines(setting: Setting) -> list[Line]:
    """Reading and fanning out for 1 and 10 subscribers, and frames."""
    repetitions, found = setting.repetitions(9, 21, 101), []
    for subscribers in (1, 10):
        sides = (
            Side("aether", lambda _, subscribers=subscribers: read_ours(subscribers), COUNT),
            Side("nats-py's parser, msgspec", lambda _, subscribers=subscribers: read_theirs(subscribers), COUNT),
        )
        target = [[Target("faster", 2.5)]]
        found += await compare(f"read, {subscribers}", sides[0], sides[1:], repetitions=repetitions, clock=CPU, targets=target)
    for subscribers in (1, 10):
        sides = (
            Side("aether", lambda _, subscribers=subscribers: fan_out_ours(subscribers), COUNT),
            Side("plain Python", lambda _, subscribers=subscribers: fan_out_plainly(subscribers), COUNT),
        )
        target = [[Target("most", 600 * subscribers)]]
        found += await compare(f"fan out, {subscribers}", sides[0], sides[1:], repetitions=repetitions, clock=CPU, targets=target)
    ours, plain = Side("aether", frames_ours, COUNT), Side("one by one", frames_plainly, COUNT)
    found += await compare("frames", ours, [plain], repetitions=repetitions, clock=CPU, targets=[[Target("faster", 1)]])
    return found


if __name__ == "__main__":
    sys.exit(report("the native parts of the buses", ["aether-events", "nats-py", "msgspec"], lines))
