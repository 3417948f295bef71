"""Work that goes on as long as a node does, whatever becomes of one attempt at it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

from aether.cluster.ending import end_tasks

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Supervisor"]

_LOG = logging.getLogger("aether.cluster")

AGAIN_S = 1.0


class Supervisor:
    """Runs a task for each kind of work, and begins it anew should it ever fail: a node that stops in silence would be worse.

    Args:
        whose: names the node, for the log.
    """

    def __init__(self, whose: str) -> None:
        self._whose = whose
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        """Begin, and go on until the work returns."""
        self._tasks.add(asyncio.create_task(self._keep_on(work), name=f"aether-node-{name}"))

    async def _keep_on(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            try:
                await work()
            except Exception:  # noqa: BLE001 - whatever it is, the others rely on this node's work
                _LOG.exception("%s: an error that nobody expected; it goes on in a moment", self._whose)
                await asyncio.sleep(AGAIN_S)
            else:
                return

    async def aclose(self) -> None:
        """End all of it."""
        tasks, self._tasks = self._tasks, set()
        await end_tasks(tasks)
