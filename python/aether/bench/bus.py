"""The buses: one publisher to one subscriber and to ten, and the local bus, each beside what Python programs use today.

On NATS both sides hear the very same messages, which another process publishes, so what is compared is hearing them: `Event`
objects here, a callback of nats-py's that decodes each message there. Its decoder is msgspec's, the fastest there is for msgpack.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from aether._native import Event
from aether.bench import bus_local
from aether.bench.measure import WALL, Line, Side, Target, compare
from aether.bench.nats_command import subscriber
from aether.bench.setting import PAYLOAD, TIMEOUT_S, check
from aether.bus.nats import NATSEventBus

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from aether.bench.setting import Setting

__all__ = ["lines"]

SUBSCRIBERS = 10
WAIT_S = 120.0
GO_BYTES = 256
"""What a message of ours is about, body and all."""


async def lines(setting: Setting) -> list[Line]:
    """Measure receiving, fanning out, publishing, and the local bus."""
    setting.say("bus: in this process")
    found = await bus_local.lines(setting)
    return [*found, *await _on_nats(setting)]


async def _on_nats(setting: Setting) -> list[Line]:
    count, repetitions = setting.count(50_000, 100_000, 200_000), setting.repetitions(5, 7, 15)
    namespace = f"bench-{secrets.token_hex(4)}"
    async with setting.client() as client, NATSEventBus(setting.url, namespace=namespace, timeout_s=TIMEOUT_S) as bus:
        setting.say("bus: on NATS, 1 subscriber")
        lines = await _receiving(setting, bus, client, namespace, subscribers=1, count=count, repetitions=repetitions)
        setting.say(f"bus: on NATS, {SUBSCRIBERS} subscribers")
        # As many messages for the baseline as before: each of its subscriptions gets its own copy from the server.
        share = count // SUBSCRIBERS
        lines += await _receiving(setting, bus, client, namespace, subscribers=SUBSCRIBERS, count=share, repetitions=repetitions)
        setting.say("bus: on NATS, publishing")
        lines += await _publishing(bus, client, count, repetitions)
        setting.say("bus: on NATS, subscribing")
        return [*lines, *await _subscribing(bus, client, setting.count(500, 1_000, 2_000), repetitions)]


async def _receiving(
    setting: Setting, bus: NATSEventBus, client: Client, namespace: str, *, subscribers: int, count: int, repetitions: int
) -> list[Line]:
    async with _publisher(setting.url, namespace, count) as publisher:
        ours = Side("aether", Heard.run, count, _ours(bus, publisher, subscribers, count))
        theirs = _theirs(client, f"aether-bus.{namespace}.>", publisher, subscribers, count)
        sides, targets = [Side("nats-py callbacks", Heard.run, count, theirs)], [[Target("faster", 2.5)]]
        if setting.nats_command is not None and subscribers == 1:
            sides.append(subscriber(setting, f"bench.{namespace}", count, GO_BYTES))
            targets.append([])
        many = "1 subscriber" if subscribers == 1 else f"{subscribers} subscribers"
        scenario = f"bus, 1 publisher to {many}, {count:,} events"
        return await compare(
            scenario, ours, sides, repetitions=repetitions, clock=WALL, targets=targets, server_cpu_ns=setting.server_cpu_ns
        )


@dataclass(frozen=True)
class Heard:
    """One run of a side: publish, and hear everything.

    Attributes:
        publish: makes the other process publish.
        heard: returns once every subscriber heard everything.
        close: ends the subscriptions.
    """

    publish: Callable[[], Awaitable[None]]
    heard: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]

    async def run(self) -> None:
        """Do it."""
        try:
            async with asyncio.timeout(WAIT_S):
                await self.publish()
                await self.heard()
        except TimeoutError:
            check(holds=False, what=f"not every event was heard within {WAIT_S:g} s")
        await self.close()


class Publisher:
    """The other process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def publish(self) -> None:
        """Let it publish all its events; it goes on meanwhile."""
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("the publisher was started without its pipes")
        self._process.stdin.write(b"\n")
        await self._process.stdin.drain()

    async def said(self, word: str) -> None:
        """Wait until it says so."""
        if self._process.stdout is None:
            raise RuntimeError("the publisher was started without its pipes")
        line = await asyncio.wait_for(self._process.stdout.readline(), WAIT_S)
        check(holds=line.decode().strip() == word, what=f"the publisher said {line!r}, not {word!r}")


@contextlib.asynccontextmanager
async def _publisher(url: str, namespace: str, count: int) -> AsyncIterator[Publisher]:
    command = [sys.executable, "-m", "aether.bench.bus_publisher", url, namespace, str(count)]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    publisher = Publisher(process)
    try:
        await publisher.said("ready")
        yield publisher
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _ours(bus: NATSEventBus, publisher: Publisher, subscribers: int, count: int) -> Callable[[], Awaitable[Heard]]:
    async def prepare() -> Heard:
        subscriptions = [await bus.subscribe(max_pending=count, max_pending_bytes=2**30) for _ in range(subscribers)]

        async def heard() -> None:
            await asyncio.gather(*(bus_local.read(subscription, count) for subscription in subscriptions))
            await publisher.said("published")

        async def close() -> None:
            for subscription in subscriptions:
                await subscription.aclose()

        return Heard(publisher.publish, heard, close)

    return prepare


def _theirs(client: Client, subject: str, publisher: Publisher, subscribers: int, count: int) -> Callable[[], Awaitable[Heard]]:
    async def prepare() -> Heard:
        callbacks = [Callback(count) for _ in range(subscribers)]
        subscriptions = [
            await client.subscribe(subject, cb=callback.take, pending_msgs_limit=0, pending_bytes_limit=0)
            for callback in callbacks
        ]
        # The second is answered behind the subscriptions; see docs/guide/buses.md.
        await client.flush()
        await client.flush()

        async def heard() -> None:
            for callback in callbacks:
                await callback.done.wait()
            await publisher.said("published")

        async def close() -> None:
            for subscription in subscriptions:
                await subscription.unsubscribe()

        return Heard(publisher.publish, heard, close)

    return prepare


class Callback:
    """What a program over nats-py does: decode, look at the event, count."""

    def __init__(self, count: int) -> None:
        self._left = count
        self.done = asyncio.Event()

    async def take(self, msg: Msg) -> None:
        """Take one message."""
        commit = msgspec.msgpack.decode(msg.data)
        self._left -= len(commit["events"])
        if not self._left:
            self.done.set()


async def _publishing(bus: NATSEventBus, client: Client, count: int, repetitions: int) -> list[Line]:
    """Publish the same events until the server has them, to nobody."""
    events = [Event(f"device-{n % 1000}", "Measured", n // 1000 + 1, PAYLOAD) for n in range(count)]

    async def ours(_: None) -> None:
        await bus.publish_many(events)
        await bus.flush()

    async def theirs(_: None) -> None:
        encode = msgspec.msgpack.encode
        for event in events:
            body = encode(
                {"id": event.id, "actor": event.actor_id, "type": event.event_type, "time": event.time_ns, "data": PAYLOAD}
            )
            await client.publish(f"bench.{event.actor_id}.{event.event_type}", body)
        await client.flush()
        await client.flush()

    sides = [Side("nats-py publish", theirs, count)]
    return await compare(
        f"bus, publish and flush {count:,} events", Side("aether", ours, count), sides, repetitions=repetitions, clock=WALL
    )


async def _subscribing(bus: NATSEventBus, client: Client, count: int, repetitions: int) -> list[Line]:
    """Subscribe to an actor until the server has it, and unsubscribe until the server knows that, one after the other."""

    async def ours(_: None) -> None:
        for number in range(count):
            await (await bus.subscribe(actor_id=f"device-{number}")).aclose()

    async def take(_: Msg) -> None:
        """Nothing is published."""

    async def theirs(_: None) -> None:
        for number in range(count):
            subscription = await client.subscribe(f"bench.device-{number}", cb=take)
            await client.flush()
            await client.flush()
            await subscription.unsubscribe()
            await client.flush()

    sides = [Side("nats-py with flushes", theirs, count)]
    return await compare(
        "bus, subscribe until ready, and leave", Side("aether", ours, count), sides, repetitions=repetitions, clock=WALL
    )
