"""How tasks are ended: cancelled until they end, for one may swallow a cancellation, and not waited for without a bound."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["end_tasks"]

_LOG = logging.getLogger("aether.cluster")

AGAIN_S = 0.1
TRIES_MAX = 50
"""After five seconds a task that takes no cancellation is left to itself, and told of."""


async def end_tasks(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks, and return when they have ended; those that never do are told of in the log."""
    running = [task for task in tasks if not task.done()]
    for _ in range(TRIES_MAX):
        if not running:
            return
        for task in running:
            task.cancel()
        _, late = await asyncio.wait(running, timeout=AGAIN_S)
        running = [*late]
    for task in running:
        _LOG.error("%s was cancelled %d times, and goes on", task.get_name(), TRIES_MAX)
