"""A process with one cluster node that appends to every actor it owns, and tells line by line what was accepted.

Arguments: URL, namespace, name, lease's life in seconds, actors (separated by commas). It ends at SIGTERM, in good order.
Each line is JSON: {"joined": incarnation}, {"wrote": [shard, position], "at": time}, {"change": kind, …}.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time

from moving import as_told

from aether import AetherError, NewEvent
from aether._native import shard_of
from aether.cluster import ClusterNode

PAUSE_S = 0.15
LOOK_S = 0.02


def say(**facts: object) -> None:
    """Print one line at once: this process may be killed in the next moment."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


async def write(node: ClusterNode, actor: str) -> None:
    """Append to an actor for ever, whenever this node owns it."""
    shard = shard_of(actor)
    while True:
        if node.epoch_of(actor) is None:
            await asyncio.sleep(LOOK_S)
            continue
        try:
            appended = await node.store.append(actor, [NewEvent("counted", {"by": node.node_id})])
            say(wrote=[shard, appended.position], at=time.monotonic())
        except AetherError as error:
            say(failed=shard, error=type(error).__name__, words=str(error), at=time.monotonic())
        await asyncio.sleep(PAUSE_S)


async def tell(node: ClusterNode) -> None:
    """Tell of the membership."""
    async for change in node.changes():
        if change.kind in ("membership_lost", "membership_held", "hook_failed"):
            say(change=change.kind, reason=change.reason, incarnation=node.incarnation, at=time.monotonic())


async def main() -> None:
    """Join, write, and leave when told to."""
    url, namespace, name, ttl, actors = sys.argv[1:]
    over = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)
    async with ClusterNode.join(url, namespace=namespace, node_id=name, ttl=float(ttl), timeout_s=30) as node:
        say(joined=node.incarnation, at=time.monotonic())
        tasks = [asyncio.create_task(write(node, actor)) for actor in actors.split(",") if actor]
        tasks.append(asyncio.create_task(tell(node)))
        await over.wait()
        say(leaving=True, at=time.monotonic())
        await node.aclose()
        say(left=True, at=time.monotonic())
        for task in tasks:
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(*tasks)


with as_told():
    asyncio.run(main())
