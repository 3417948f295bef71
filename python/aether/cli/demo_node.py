"""One node of `aether demo --cluster`, in a process of its own.

It says "ready" once it is a member, and leaves in an orderly way at SIGTERM. When whoever started it is gone, so is the server,
and it ends at once.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

from aether.cluster.host import ActorHost
from aether.cluster.node import ClusterNode
from aether.event import NewEvent

if TYPE_CHECKING:
    from aether.event import Event

__all__ = ["PROGRAM", "Account", "main"]

PROGRAM = "from aether.cli.demo_node import main; main()"
"""What `python -c` runs; with -m the interpreter would load this module a second time."""


class Account:
    """The demo's actor: an account, and its balance in cents."""

    initial = 0

    def __init__(self, actor_id: str) -> None:
        """Take the account's id, which makes no difference."""

    def apply(self, state: int, event: Event) -> int:
        """Return the balance after an event."""
        return state + int(event.data["cents"])

    def handle(self, state: int, command: dict[str, int]) -> tuple[NewEvent, dict[str, Any]]:
        """Deposit; reply what the event says, so that the audit can compare the two."""
        data = {"cents": command["deposit"], "balance": state + command["deposit"]}
        return NewEvent("Deposited", data), data


async def serve(url: str, namespace: str, name: str) -> None:
    """Be a node until the end."""
    logging.getLogger("aether").setLevel(logging.CRITICAL)
    over = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, over.set)
    loop.add_reader(sys.stdin.fileno(), os._exit, 1)  # it is readable at its end only: nobody writes to it
    async with ClusterNode.join(url, namespace=namespace, node_id=name) as node, ActorHost(node, Account):
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        await over.wait()
        # First the shards, then the host: as long as it has them it does their commands.
        await node.drain()


def main() -> None:
    """Be the node that the command line names: URL NAMESPACE NAME."""
    asyncio.run(serve(*sys.argv[1:4]))
