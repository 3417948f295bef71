"""Very many events of very many actors, one after the other from one process: does the rate last, and does the memory stay flat?

Actors take turns, so each of an actor's commits lies far behind its last one, in the stream and in every cache. What is
asked is not how fast this is, but whether the last tenth is as fast as the first, whether the client needs more memory for it,
and whether an actor can be loaded afterwards as if it were alone.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from aether.bench.child import finding
from aether.bench.ingest import Shape
from aether.bench.lines import Line, Target, percentiles
from aether.bench.load import COLD_NS_MAX
from aether.bench.measure import WALL, timed
from aether.bench.nats_command import publish_async
from aether.bench.setting import PAYLOAD_BYTES, check
from aether.nats.subjects import events_stream
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from aether.bench.setting import Setting

__all__ = ["EVENTS_EACH", "TENTHS", "Given", "Tenth", "actor", "lines"]

EVENTS_EACH = 100
"""Events of an actor in the end, a commit each."""

TENTHS = 10
LASTING = 0.85
"""How fast the last tenth has to be, the first being 1."""

MIB_MAX = 64
"""How much the client's memory may grow after the first tenth, in MiB; as for a replay."""

LOADED = 20


class Given(msgspec.Struct):
    """What is to be put, and where."""

    url: str
    namespace: str
    actors: int


class Tenth(msgspec.Struct):
    """How a tenth of the events went: seconds, CPU seconds of the process, and its resident memory at the end, in MiB."""

    seconds: float
    cpu_s: float
    resident_mib: float


def actor(number: int) -> str:
    """Name an actor."""
    return f"device-{number}"


@dataclass(frozen=True)
class _Run:
    """How it went.

    Attributes:
        count: the events, a commit each.
        actors: how many have them.
        tenths: how each tenth of them went.
        server_us: the servers' CPU time an event; None where that cannot be known.
        disk_bytes: what an event takes in the stream.
    """

    count: int
    actors: int
    tenths: list[Tenth]
    server_us: float | None
    disk_bytes: float


async def lines(setting: Setting) -> list[Line]:
    """Put everything from a process of its own; then load some actors, each in a store that has never seen it."""
    actors = (setting.messages or setting.count(200_000, 1_000_000, 10_000_000)) // EVENTS_EACH
    async with setting.store() as store:
        namespace = (await store.info()).namespace
        run = await _put(setting, namespace, actors)
        loads = await _load(setting, namespace, actors)
    theirs = [] if setting.nats_command is None else await _by_go(setting, run.count, actors)
    return [*_rates(run, aims=setting.plain), *theirs, *loads]


async def _put(setting: Setting, namespace: str, actors: int) -> _Run:
    count = actors * EVENTS_EACH
    setting.say(f"sustained, {count:,} events of {actors:,} actors, from one process")
    given = Given(setting.url, namespace, actors)
    servers = setting.server_cpu_ns()
    printed = await finding("aether.bench.sustained_process", msgspec.json.encode(given).decode())
    served = setting.server_cpu_ns()
    async with setting.client() as client:
        state = (await client.jetstream().stream_info(events_stream(namespace))).state
    check(holds=state.messages == count, what=f"{state.messages:,} of {count:,} commits are stored")
    server_us = None if served is None or servers is None else (served - servers) / count / 1000
    return _Run(count, actors, msgspec.json.decode(printed, type=list[Tenth]), server_us, state.bytes / count)


def _rates(run: _Run, *, aims: bool) -> list[Line]:
    """All of it, the last tenth beside the first, and what the client's memory grew by."""
    tenths, part = run.tenths, run.count // TENTHS
    first, last = tenths[0], tenths[-1]
    return [
        Line(
            f"sustained, {run.count:,} events of {run.actors:,} actors",
            1e9 * sum(tenth.seconds for tenth in tenths) / run.count,
            "ns",
            spread=(1e9 * min(tenth.seconds for tenth in tenths) / part, 1e9 * max(tenth.seconds for tenth in tenths) / part),
            cpu_us=1e6 * sum(tenth.cpu_s for tenth in tenths) / run.count,
            server_us=run.server_us,
            disk_bytes=run.disk_bytes,
        ),
        Line(
            f"sustained, the last {part:,}",
            1e9 * last.seconds / part,
            "ns",
            cpu_us=1e6 * last.cpu_s / part,
            baseline=f"the first {part:,}",
            theirs=1e9 * first.seconds / part,
            their_cpu_us=1e6 * first.cpu_s / part,
            ratio=first.seconds / last.seconds,
            cpu_ratio=first.cpu_s / last.cpu_s,
            targets=(Target("faster", LASTING),) if aims else (),
        ),
        Line(
            "sustained, the client's growth after the first tenth",
            max(tenth.resident_mib for tenth in tenths) - first.resident_mib,
            "MiB",
            targets=(Target("most", MIB_MAX),),
        ),
    ]


async def _by_go(setting: Setting, count: int, subjects: int) -> list[Line]:
    """Let Go's client publish as many messages, without guards: what changes there is the server's doing alone."""
    part = count // TENTHS
    setting.say(f"sustained: the same by {setting.nats_command}, on as many subjects")
    async with setting.bare_stream() as bare:
        side = publish_async(setting, bare, part, Shape(1, PAYLOAD_BYTES, subjects).message_bytes(), subjects=subjects)
        times = [await timed(side, WALL, setting.server_cpu_ns) for _ in range(TENTHS)]
    first, last = times[0], times[-1]
    return [
        Line(
            f"sustained, the last {part:,} by {side.name}",
            last.ns,
            "ns",
            server_us=last.server_us,
            baseline=f"its first {part:,}",
            theirs=first.ns,
            their_server_us=first.server_us,
            ratio=first.ns / last.ns,
        )
    ]


async def _load(setting: Setting, namespace: str, actors: int) -> list[Line]:
    setting.say(f"sustained: {LOADED} actors are loaded, each by stores that have never seen it")
    names = [actor(place * actors // LOADED) for place in range(LOADED)]
    first = percentiles([await _cold_load_ns(setting, namespace, name) for name in names])
    turns = setting.repetitions(3, 5, 15)
    cold = percentiles([await _cold_load_ns(setting, namespace, name) for _ in range(turns) for name in names])
    return [
        Line(
            f"sustained, then a cold load of {EVENTS_EACH} events",
            cold.p50,
            "ns",
            latency=cold,
            targets=(Target("most", COLD_NS_MAX),) if setting.plain else (),
        ),
        Line("sustained, the first such load, from blocks that the server has to read", first.p50, "ns", latency=first),
    ]


async def _cold_load_ns(setting: Setting, namespace: str, actor_id: str) -> int:
    async with JetStreamEventStore(setting.url, namespace=namespace) as store:
        await store.info()
        began = time.perf_counter_ns()
        events = await store.get_events(actor_id)
        taken = time.perf_counter_ns() - began
    check(holds=[event.version for event in events] == [*range(1, EVENTS_EACH + 1)], what=f"{actor_id} lacks events")
    return taken
