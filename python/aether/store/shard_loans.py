"""The turns of shards that a pipeline holds while its commits are on their way there.

In a shard one message is on its way at a time, whoever writes: an append, or one of several pipelines. A pipeline takes a shard's
turn where something waits for the shard, and lends it to its bookkeeping, which sends by itself. It gives the turn back when
nothing waits there any more, or when somebody else wants it and the commit on its way is settled.

A turn that cannot be had at once is waited for by a task of that shard alone. So a shard that is being moved, or stuck, holds up
no other; what waits for it ends by name when its time is up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aether.errors import AetherError
from aether.store.ingesting import is_verdict

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether._native import Pending
    from aether.store.fence import ShardFence
    from aether.store.fenced_writer import FencedWriter
    from aether.store.ingesting import Ledger

__all__ = ["FencedOutbox", "ShardLoans"]


class ShardLoans:
    """The turns that one pipeline holds.

    Args:
        pending: the bookkeeping.
        ledger: where the ends of events are told whose shard cannot be had.
        writer: who has the shards' fences.
        timeout_s: how long a turn is waited for, in seconds.
        moved: called when a turn came, or will not come.
    """

    def __init__(
        self,
        pending: Pending,
        ledger: Ledger,
        writer: FencedWriter,
        timeout_s: float,
        moved: Callable[[BaseException | None], None],
    ) -> None:
        self._pending, self._ledger, self._writer = pending, ledger, writer
        self._timeout_s, self._moved = timeout_s, moved
        self._held: dict[int, ShardFence] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # at most one of each shard

    def fence(self, shard: int) -> ShardFence | None:
        """Return the fence of a shard whose turn is held."""
        return self._held.get(shard)

    def lend(self) -> bool:
        """Lend what is wanted and can be had, and wait for the rest; say whether anything was lent."""
        self.give_back()
        is_any = False
        for shard in self._pending.wanted():
            fence = self._writer.borrow_now(shard, self._recall)
            if fence is not None:
                self._lend(shard, fence)
                is_any = True
            else:
                task = asyncio.create_task(self._wait_for(shard), name=f"aether-ingest-shard-{shard}")
                self._tasks.add(task)
                task.add_done_callback(self._ended)
        return is_any

    def _lend(self, shard: int, fence: ShardFence) -> None:
        self._held[shard] = fence
        self._pending.lend(shard, fence.mark, fence.epoch, once=self._writer.is_wanted(shard))

    async def _wait_for(self, shard: int) -> None:
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            fence = await self._writer.borrow(shard, deadline, self._recall)
        except AetherError as error:
            if not is_verdict(error):
                self._ledger.halt(error)
            self._ledger.drop_shard(shard, error)
        else:
            self._lend(shard, fence)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._moved(None if task.cancelled() else task.exception())

    def _recall(self, shard: int) -> None:
        """Somebody else wants a shard."""
        self._pending.recall(shard)
        self.give_back()

    def give_back(self) -> None:
        """Give back what the bookkeeping needs no more."""
        for shard in self._pending.returned():
            self._end(shard)

    def take_back(self, shard: int) -> None:
        """Give back the shard of a commit in trouble."""
        self._pending.take_back(shard)
        self._end(shard)

    def _end(self, shard: int) -> None:
        if self._held.pop(shard, None) is not None:
            self._writer.give_back(shard)

    def close(self) -> None:
        """Wait for nothing more, and give everything back: what is in doubt is the next writer's to find."""
        for task in self._tasks:
            task.cancel()
        for shard in [*self._held]:
            self._end(shard)


class FencedOutbox:
    """Gives what is ready to be sent, as long as this node may act as an owner: that is asked before each batch.

    Args:
        pending: the bookkeeping.
        writer: knows whether it may.
    """

    def __init__(self, pending: Pending, writer: FencedWriter) -> None:
        self._pending, self._writer = pending, writer

    def frames(self, inbox: str) -> bytes:
        """Return messages as frames; see `Outbox`."""
        self._check()
        return self._pending.frames(inbox)

    def messages(self) -> list[tuple[str, int, int, bytes, str | None]]:
        """Return messages one by one; see `Outbox`."""
        self._check()
        return self._pending.messages()

    def _check(self) -> None:
        if not self._writer.may_send():
            self._pending.recall()  # whoever asks for these shards next is told why
