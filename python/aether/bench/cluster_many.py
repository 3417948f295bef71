"""Many nodes: how long until they have settled, and what it costs them and the server to know of each other at rest.

A node renews its lease three times in its life, and hears each renewal of all others: whoever is to tell the dead from the living
must have looked on. So the server sends as many messages a second as the number of nodes squared, with leases of 3 s.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from aether.bench.cluster_many_worker import PROGRAM, Heard, Told
from aether.bench.lines import Line
from aether.bench.setting import check, cpu_ns_of
from aether.cluster.table import SHARDS
from aether.nats.subjects import coordination_stream, events_stream, snapshots_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aether.bench.setting import Setting

__all__ = ["lines"]

TTL_S = 3.0
PROCESSES, NODES = {"once": 1, "quick": 2, "ci": 3, "full": 4}, {"once": 3, "quick": 5, "ci": 10, "full": 25}
"""Processes, and nodes in each: some dozens of interpreters would measure the interpreters."""

REST_S = {"once": 0.0, "quick": 2.0, "ci": 5.0, "full": 15.0}
WATCH_S = {"once": 0.5, "quick": 5.0, "ci": 10.0, "full": 20.0}
"""How long the nodes are left alone, and then watched."""

PATIENCE_S = 120.0


class _Process:
    """Some of the nodes."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process, self.pid = process, process.pid

    async def heard(self) -> Heard:
        """Ask what its nodes have heard so far."""
        self.go_on()
        return msgspec.json.decode(await self.line(), type=Heard)

    def go_on(self) -> None:
        """Tell it the next thing."""
        if self._process.stdin is None:
            raise RuntimeError("the process was started without its pipes")
        self._process.stdin.write(b"\n")

    async def line(self) -> bytes:
        """Wait for what it says next."""
        if self._process.stdout is None:
            raise RuntimeError("the process was started without its pipes")
        async with asyncio.timeout(PATIENCE_S):
            line = await self._process.stdout.readline()
        check(holds=line != b"", what="a process of nodes ended by itself")
        return line

    async def kill(self) -> None:
        """Kill it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


@contextlib.asynccontextmanager
async def _running(setting: Setting, processes: int, nodes: int) -> AsyncIterator[list[_Process]]:
    """Yield processes whose nodes could join at once."""
    namespace, pipe = f"bench-{secrets.token_hex(4)}", asyncio.subprocess.PIPE
    made: list[_Process] = []
    try:
        for number in range(processes):
            names = [f"node-{number}-{place}" for place in range(nodes)]
            told = msgspec.json.encode(Told(setting.url, namespace, names, TTL_S, PATIENCE_S))
            process = await asyncio.create_subprocess_exec(sys.executable, "-c", PROGRAM, told, stdin=pipe, stdout=pipe)
            made.append(_Process(process))
        for each in made:
            await each.line()
        yield made
    finally:
        for each in made:
            await each.kill()
        await setting.delete(*(name(namespace) for name in (events_stream, snapshots_stream, coordination_stream)))


async def lines(setting: Setting) -> list[Line]:
    """Measure."""
    processes, nodes = PROCESSES[setting.size], NODES[setting.size]
    count = processes * nodes
    setting.say(f"cluster, many nodes: {count} nodes in {processes} processes")
    async with _running(setting, processes, nodes) as made:
        began = time.monotonic()
        for each in made:
            each.go_on()
        await asyncio.gather(*(each.line() for each in made))
        settled_s = time.monotonic() - began
        setting.say(f"cluster, many nodes: all had settled in {settled_s:.1f} s")
        await asyncio.sleep(REST_S[setting.size])
        pids = tuple(each.pid for each in made)
        before, began, used, server = await _heard(made), time.monotonic(), cpu_ns_of(pids), setting.server_cpu_ns()
        await asyncio.sleep(WATCH_S[setting.size])
        after, seconds = await _heard(made), time.monotonic() - began
        used_after, server_after = cpu_ns_of(pids), setting.server_cpu_ns()
    shards = [owned for heard in after for owned in heard.shards]
    lost = sum(heard.joined for heard in after)
    check(holds=lost > 0 or (sum(shards) == SHARDS and max(shards) - min(shards) <= 1), what=f"the nodes own {shards} shards")
    messages = sum(heard.messages for heard in after) - sum(heard.messages for heard in before)
    found = [
        Line(f"cluster, {count} nodes join at once: until all shards are shared", settled_s * 1e3, "ms"),
        Line(f"cluster, {count} nodes at rest: messages to all of them", messages / seconds, "a second"),
        Line(f"cluster, {count} nodes at rest: leases lost since they joined", lost, "leases"),
    ]
    for whose, at_first, at_last in (("all nodes", used, used_after), ("the server", server, server_after)):
        if at_first is not None and at_last is not None:
            share = (at_last - at_first) / 1e9 / seconds
            found.append(Line(f"cluster, {count} nodes at rest: CPU of {whose}, of each second", share * 1e3, "ms"))
    return found


async def _heard(made: list[_Process]) -> list[Heard]:
    return await asyncio.gather(*(each.heard() for each in made))
