"""Harms that make shards change their owners, one at a time to a group of owners, and how long the shards then stood still."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from functools import partial
from typing import TYPE_CHECKING

from aether.bench.histogram import bars, bins
from faults.stopping import stop, wake

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from faults.owners import Group, Owner
    from faults.proxy import Proxy

__all__ = ["HARMS", "Figures", "churned", "half_open", "in_parallel", "killed", "stopped"]

LEAVES_S = 30.0
CHANGE_EVERY_S = 1.0
STAY = 2


class Figures:
    """What a run did.

    Attributes:
        counts: how often each harm was done to a node that owned shards.
        gaps_s: for each shard of each killed owner, the time from the kill to the first write that another node was told is
            stored, in seconds.
        worst_s: the longest of them, for each kill.
    """

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self.gaps_s: list[float] = []
        self.worst_s: list[float] = []

    def did(self, what: str) -> None:
        """Count a harm."""
        self.counts[what] = self.counts.get(what, 0) + 1

    def __str__(self) -> str:
        """Say what was done how often."""
        return ", ".join(f"{count:,} {what}" for what, count in self.counts.items())

    def histogram(self) -> str:
        """Tell how long shards of killed owners stood still."""
        if not self.gaps_s:
            return "no owner was killed"
        p50, p90, p99, p100 = (quantile(self.gaps_s, part) for part in (0.5, 0.9, 0.99, 1.0))
        head = (
            f"{len(self.worst_s):,} owners killed, {len(self.gaps_s):,} shards that were written to: from kill -9 to the first"
            f" write accepted by another owner p50 {p50:.2f} s, p90 {p90:.2f} s, p99 {p99:.2f} s, longest {p100:.2f} s"
        )
        return "\n".join([head, *bars(bins(round(gap * 1e9) for gap in self.gaps_s))])


def quantile(values: Sequence[float], part: float) -> float:
    """Return the value that this part of all does not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]


async def victim(group: Group) -> Owner:
    """Choose a node that owns shards; wait where none does, as when servers elect a leader."""

    def owners() -> list[Owner]:
        return [owner for owner in group.running() if group.owned(owner)]

    await group.until(owners, f"somebody in {group.namespace} owns shards")
    return group.dice.choice(owners())


async def killed(group: Group, figures: Figures) -> None:
    """Kill an owner with -9; a new node comes, and in the end each of them owns."""
    one = await victim(group)
    owned = group.owned(one)
    at = await one.kill()
    coming = await group.start()
    others = [owner for owner in group.running() if owner is not coming]
    await group.until(
        lambda: {shard for shard, late in group.written_since(at).items() if any(w.node != one.name for w in late)} >= owned,
        f"others write to the shards of {one.name}",
    )
    first = {
        shard: next(written.at for written in late if written.node != one.name)
        for shard, late in group.written_since(at).items()
        if shard in owned
    }
    figures.did("killed")
    # A lease that was renewed just before lives for longer than this: what comes earlier was on its way to another node already.
    gaps_s = [then - at for then in first.values() if then - at > group.settings.ttl / 2]
    figures.gaps_s += gaps_s
    figures.worst_s.append(max(gaps_s, default=0.0))
    await group.all_written(at, [*others, coming])


async def stopped(group: Group, figures: Figures) -> None:
    """Stop an owner until all of its shards are others', then let it go on: a zombie, which must join again."""
    one = await victim(group)
    try:
        await stop(one.pid)
        at = time.monotonic()
        await group.all_written(at, [owner for owner in group.running() if owner is not one])
    finally:
        wake(one.pid)
    figures.did("zombies")
    await group.all_written(time.monotonic(), group.running())


async def blocked(group: Group, figures: Figures) -> None:
    """Block an owner's loop for longer than a lease lives."""
    one = await victim(group)
    at = time.monotonic()
    os.kill(one.pid, signal.SIGUSR1)
    await group.until(lambda: one.since("held", at), f"{one.name} joined again")
    figures.did("blocked")
    await group.all_written(time.monotonic(), group.running())


async def terminated(group: Group, figures: Figures) -> None:
    """Tell an owner to leave; it ends in good order, and another node comes."""
    one = await victim(group)
    one.leave()
    coming = await group.start()
    async with asyncio.timeout(LEAVES_S):
        code = await one.process.wait()
    assert code == 0, group.story()
    figures.did("terminated")
    await group.all_written(time.monotonic(), group.running())
    assert coming.runs, group.story()


HARMS: dict[str, Callable[[Group, Figures], Awaitable[None]]] = {
    "killed": killed,
    "zombies": stopped,
    "blocked": blocked,
    "terminated": terminated,
}
"""Each ends when all nodes own shards, and write."""


async def half_open(group: Group, figures: Figures, proxy: Proxy, one: Owner) -> None:
    """Let nothing pass between an owner and its server until others have its shards, with the connection up."""
    proxy.silent = True
    try:
        await group.all_written(time.monotonic(), [owner for owner in group.running() if owner is not one])
    finally:
        proxy.silent = False
    figures.did("half-open")
    await group.all_written(time.monotonic(), group.running())


async def in_parallel(runs: Sequence[Awaitable[None]]) -> None:
    """Run these; the first that fails ends all."""
    async with asyncio.TaskGroup() as tasks:
        for run in runs:
            tasks.create_task(_awaited(run))


async def _awaited(run: Awaitable[None]) -> None:
    await run


async def churned(group: Group, figures: Figures, seconds: float, most: int) -> None:
    """Change the membership once a second: a node comes, leaves or is killed; at least two stay."""
    until = time.monotonic() + seconds
    leaving: list[Owner] = []
    while (now := time.monotonic()) < until:
        staying = [owner for owner in group.running() if owner not in leaving]
        harms: list[Callable[[], Awaitable[object]]] = []
        if len(staying) < most:
            harms.append(group.start)
        if len(staying) > STAY:
            one = group.dice.choice(staying)
            harms += [one.kill, partial(_leave, one, leaving)]
        await group.dice.choice(harms)()
        figures.did("changes of membership")
        await group.pause(now + CHANGE_EVERY_S - time.monotonic())
    await group.all_written(time.monotonic(), [owner for owner in group.running() if owner not in leaving])


async def _leave(one: Owner, leaving: list[Owner]) -> None:
    one.leave()
    leaving.append(one)
