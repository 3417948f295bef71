"""A whole namespace as `Event` objects, beside nats-py's raw pull of the same messages, which decodes nothing."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aether._native import Event
from aether.bench.child import finding
from aether.bench.measure import WALL, Line, Side, Target, compare
from aether.bench.nats_command import ordered_consumer
from aether.bench.setting import PAYLOAD, check
from aether.nats.subjects import events_stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from aether.bench.setting import Setting
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["lines"]

ACTORS = 1_000
PULL = 5_000
MIB_MAX = 64


async def lines(setting: Setting) -> list[Line]:
    """Measure the rate, and what a process of its own needs in memory for it."""
    count, repetitions = setting.count(50_000, 200_000, 1_000_000), setting.repetitions(3, 5, 5)
    setting.say(f"replay: {count:,} events, {repetitions + 1} times on each side")
    async with setting.client() as client, setting.store() as store:
        async with store.ingest(commit_events_max=1) as pipeline:
            await pipeline.put_many(_events(count))
        namespace = (await store.info()).namespace
        stream = events_stream(namespace)
        sides = [Side("nats-py raw pull", lambda _: _pull(client, stream, count), count)]
        targets = [[Target("faster", 3)]]
        if setting.nats_command is not None:
            sides.append(ordered_consumer(setting, stream, count))
            targets.append([Target("faster", 1.0)])
        found = await compare(
            f"replay, {count:,} events",
            Side("aether", lambda _: _replay(store, count), count),
            sides,
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
            targets=targets,
        )
        setting.say("replay: once more in a process of its own, for its memory")
        return [*found, await _memory_line(setting, namespace, count)]


def _events(count: int) -> Iterator[Event]:
    return (Event(f"device-{n % ACTORS}", "Measured", n // ACTORS + 1, PAYLOAD) for n in range(count))


async def _replay(store: JetStreamEventStore, count: int) -> None:
    read = 0
    async for batch in store.read_all():
        read += len(batch)
    check(holds=read == count, what=f"{read:,} of {count:,} events were read")


async def _pull(client: Client, stream: str, count: int) -> None:
    """Read every message through a consumer, without decoding it: a callback counts, two pulls are out at any time."""
    consumer = (await client.jetstream().add_consumer(stream, ack_policy="none", deliver_policy="all")).name
    subject = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
    inbox, done = client.new_inbox(), asyncio.Event()
    asked = json.dumps({"batch": PULL, "expires": 30_000_000_000}).encode()
    read = 0

    async def take(msg: Msg) -> None:
        nonlocal read
        if "Status" not in (msg.headers or ()):
            read += 1
            if read == count:
                done.set()
            elif not read % PULL:
                await client.publish(subject, asked, inbox)

    subscription = await client.subscribe(inbox, cb=take, pending_msgs_limit=0, pending_bytes_limit=0)
    await client.publish(subject, asked, inbox)
    await client.publish(subject, asked, inbox)
    await done.wait()
    await subscription.unsubscribe()
    await client.jetstream().delete_consumer(stream, consumer)


async def _memory_line(setting: Setting, namespace: str, count: int) -> Line:
    told = json.loads(await finding("aether.bench.replay_memory", setting.url, namespace))
    check(holds=told["read"] == count, what=f"{told['read']:,} of {count:,} events were read")
    return Line(f"replay, memory above idle, {count:,} events", told["grown_mib"], "MiB", targets=(Target("most", MIB_MAX),))
