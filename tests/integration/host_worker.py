"""A process with one node and its actor host: `python host_worker.py URL NAMESPACE NAME TTL REPLICAS`.

It prints "joined", and leaves in good order at SIGTERM or when its stdin ends.
"""

from __future__ import annotations

import asyncio
import signal
import sys

from moving import as_told

from aether.cli.demo_node import Account
from aether.cluster import ActorHost, ClusterNode


async def main() -> None:
    """Join, do commands, and leave when told to."""
    url, namespace, name, ttl, replicas = sys.argv[1:]
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(sys.stdin.fileno(), over.set)
    node = ClusterNode.join(url, namespace=namespace, node_id=name, ttl=float(ttl), replicas=int(replicas), timeout_s=30)
    async with node, ActorHost(node, Account, snapshot_every=20):
        sys.stdout.write("joined\n")
        sys.stdout.flush()
        await over.wait()
        loop.remove_reader(sys.stdin.fileno())
        await node.drain(timeout_s=60)


with as_told():
    asyncio.run(main())
