"""What the user's code is told of the shards that come and go: one call after the other for each shard, each in bounded time."""

from __future__ import annotations

import asyncio
import inspect
import logging
import weakref
from typing import TYPE_CHECKING

from aether.cluster.changes import ClusterChange

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.changes import Changes

__all__ = ["Hooks"]

_LOG = logging.getLogger("aether.cluster")


class Hooks:
    """What the user wants to be told of; a hook's failure is told, and changes nothing.

    Args:
        on_acquire: called with a shard and its epoch before writes to it are let through.
        on_release: called with a shard when no more writes to it are in flight.
        limit_s: how long one that is a coroutine may take, in seconds; then it is cancelled.
        changes: where a failure is told.
    """

    def __init__(
        self,
        on_acquire: Callable[[int, int], object] | None,
        on_release: Callable[[int], object] | None,
        limit_s: float,
        changes: Changes,
    ) -> None:
        for name, hook in (("on_acquire", on_acquire), ("on_release", on_release)):
            if hook is not None and not callable(hook):
                raise TypeError(f"{name} must be a function, not {type(hook).__name__}")
        self._on_acquire, self._on_release, self._limit_s, self._changes = on_acquire, on_release, limit_s, changes
        # One shard's hooks run one after the other, in the order of what they tell, even where it is lost and taken again.
        self._turns: weakref.WeakValueDictionary[int, asyncio.Lock] = weakref.WeakValueDictionary()

    async def acquired(self, shard: int, epoch: int) -> None:
        """Tell that a shard was taken."""
        if self._on_acquire is not None:
            await self._run("on_acquire", shard, self._on_acquire, shard, epoch)

    async def released(self, shard: int) -> None:
        """Tell that a shard is no longer ours."""
        if self._on_release is not None:
            await self._run("on_release", shard, self._on_release, shard)

    async def _run(self, name: str, shard: int, hook: Callable[..., object], *arguments: int) -> None:
        turn = self._turns.setdefault(shard, asyncio.Lock())
        try:
            async with turn, asyncio.timeout(self._limit_s):
                answer = hook(*arguments)
                if inspect.isawaitable(answer):
                    await answer
        except (Exception, asyncio.CancelledError) as error:
            task = asyncio.current_task()
            if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
                raise  # this is the node's own end; else something that the hook waited for was cancelled
            _LOG.exception("%s of shard %d failed; the shard goes on without it", name, shard)
            reason = f"took longer than {self._limit_s:g} s" if isinstance(error, TimeoutError) else repr(error)
            self._changes.put(ClusterChange(kind="hook_failed", shard=shard, reason=f"{name}: {reason}"))
