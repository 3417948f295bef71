"""Acked and guarded appends, many in flight, beside the same over nats-py with an ack inbox of its own.

Every event is a commit of its own actor, with a payload of 128 bytes. The baseline is the fastest that nats-py does: core
publishes with a reply subject under one inbox, acks taken in its callback. It is given bodies that are encoded beforehand and
only keeps each actor's last position for the guard; ours encodes, keeps heads and matches acks within the time.
"""

from __future__ import annotations

import asyncio
import json
import math
from typing import TYPE_CHECKING

from aether._native import Event, Head, encode_commit
from aether.bench.measure import WALL, Side, Target, compare
from aether.bench.nats_command import publish_async
from aether.bench.setting import PAYLOAD, check
from aether.nats.stream_log import guard_bytes
from aether.nats.transport import GUARD

if TYPE_CHECKING:
    from nats.aio.client import Client
    from nats.aio.msg import Msg

    from aether.bench.measure import Line
    from aether.bench.setting import Setting
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["lines"]

ACTORS = (1_000, 100_000)
WINDOW_MAX = 4_096
MAX_BYTES = 1_048_576


class OwnInbox:
    """Guarded publishes by nats-py, acks to one inbox of its own, so many in flight."""

    def __init__(self, client: Client, stream: str, actors: int) -> None:
        self._client, self._stream = client, stream
        self._inbox = client.new_inbox()
        self._positions = [0] * actors
        # Every actor has its turn once a round, so with fewer in flight than there are actors its last ack is there.
        self._room = asyncio.Semaphore(min(actors // 2, WINDOW_MAX))
        self._left = 0
        self._done = asyncio.Event()
        self.refused = 0

    async def open(self) -> None:
        """Let acks come."""
        await self._client.subscribe(f"{self._inbox}.*", cb=self._acked, pending_msgs_limit=0, pending_bytes_limit=0)

    async def _acked(self, msg: Msg) -> None:
        ack = json.loads(msg.data)
        if "error" in ack:
            self.refused += 1
        else:
            self._positions[int(msg.subject.rpartition(".")[2])] = ack["seq"]
        self._room.release()
        self._left -= 1
        if not self._left:
            self._done.set()

    async def send(self, bodies: list[bytes], first: int) -> None:
        """Send one message for each body, to the actors in turn, and wait for every ack."""
        self._left = len(bodies)
        self._done.clear()
        actors, publish, positions = len(self._positions), self._client.publish, self._positions
        for number, body in enumerate(bodies, first):
            actor = number % actors
            await self._room.acquire()
            await publish(f"{self._stream}.{actor}", body, f"{self._inbox}.{actor}", {GUARD: str(positions[actor])})
        await self._done.wait()


class Rounds:
    """Events of so many actors in turn, each with its next version."""

    def __init__(self, actors: int, count: int) -> None:
        self._actors, self._count, self._next = actors, count, 0

    def events(self) -> list[Event]:
        """Make the next events."""
        numbers = range(self._next, self._next + self._count)
        self._next += self._count
        return [Event(f"device-{n % self._actors}", "Measured", n // self._actors + 1, PAYLOAD) for n in numbers]

    def bodies(self) -> tuple[list[bytes], int]:
        """Make the next events as bodies of commits, and say what number the first has."""
        first = self._next
        head, size = Head(), guard_bytes(0)
        return [
            encode_commit(event.actor_id, [event], head, header_bytes=size, bytes_max=MAX_BYTES) for event in self.events()
        ], first


async def lines(setting: Setting) -> list[Line]:
    """Measure with few and with many actors."""
    return [line for actors in ACTORS for line in await _lines(setting, actors)]


async def _lines(setting: Setting, actors: int) -> list[Line]:
    count, repetitions = setting.count(20_000, 50_000, 100_000), setting.repetitions(3, 5, 9)
    setting.say(f"append-pipelined: {count:,} events of {actors:,} actors, {repetitions + 1} times on each side")
    async with setting.client() as client, setting.bare_stream() as stream, setting.store() as store:
        mine, theirs = Rounds(actors, count), Rounds(actors, count)
        inbox = OwnInbox(client, stream, actors)
        await inbox.open()
        sides = [Side("nats-py, own ack inbox", lambda made: inbox.send(*made), count, theirs.bodies)]
        targets = [[Target("faster", 1.6), Target("cpu", 6)]]
        if setting.nats_command is not None:
            sides.append(publish_async(setting, stream, count, len(Rounds(1, 1).bodies()[0][0])))
            targets.append([Target("faster", 1.0)])
        found = await compare(
            f"append-pipelined, {actors:,} actors",
            Side("aether", lambda events: _ingest(store, events), count, mine.events),
            sides,
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
            targets=targets,
        )
        check(holds=not inbox.refused, what=f"{inbox.refused} publishes of the baseline were refused")
        expected = math.ceil((repetitions + 1) * count / actors)
        check(holds=await store.get_latest_version("device-0") == expected, what="the store lacks events")
        return found


async def _ingest(store: JetStreamEventStore, events: list[Event]) -> None:
    # Left to itself the pipeline would send what queues up for an actor as one commit.
    async with store.ingest(commit_events_max=1) as pipeline:
        await pipeline.put_many(events)
