"""The shards that a process has taken: their fences, whose turn it is to write to each, and what holds where one is not ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from aether.errors import DeadlineError, NotOwnerError, ShardUnavailableError
from aether.nats.subjects import epoch_subject
from aether.store.fence import ShardFence
from aether.store.shard_gate import ShardGate
from aether.store.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.nats.stream_log import StreamLog

__all__ = ["ShardFences"]

T = TypeVar("T")


class ShardFences:
    """Takes shards, gives them back, and lets one at a time write to each; what is written is the business of who derives.

    Args:
        log: the namespace's event stream.
        namespace: the namespace.
        node: this node's name.
        valid: says whether this node may act as an owner at this moment, by its lease and its clock.
        owner_of: names the owner of a shard as far as is known, for errors.
        gate: see `FencedWriter`.
    """

    def __init__(
        self,
        log: StreamLog,
        namespace: str,
        *,
        node: str,
        valid: Callable[[], bool],
        owner_of: Callable[[int], str | None],
        gate: Callable[[int, float], Awaitable[None]] | None,
    ) -> None:
        self._log, self._namespace = log, namespace
        self._node, self._valid, self._owner_of, self._wait = node, valid, owner_of, gate
        self._fences: dict[int, ShardFence] = {}
        self._turns = Turns[int](log.timeout_s)
        self._takes = Turns[int](log.timeout_s)

    def fence(self, shard: int) -> ShardFence | None:
        """Return the fence of a shard that this process has taken and not lost, as far as it knows."""
        fence = self._fences.get(shard)
        return None if fence is None or fence.closed else fence

    async def take(self, shard: int, incarnation: int, deadline: float) -> ShardFence:
        """Take a shard from whoever has it. Nothing is written to it before the fence is opened (`fence.is_open = True`).

        Raises:
            NotOwnerError: this node may not act as an owner any more.
            DeadlineError: the deadline passed; try again.
        """
        if (earlier := self._fences.pop(shard, None)) is not None:
            earlier.close()
        # Not in the shard's turn: a write under the earlier fence may hold that, in doubt until something lies behind its guard,
        # and this record is what will.
        async with self._takes.at(shard, deadline, f"waiting for another who takes shard {shard}"):
            gate = ShardGate(self._log, self._namespace, shard, self._valid, lambda: NotOwnerError(shard, self._owner_of(shard)))
            epoch = await gate.take(self._node, incarnation, deadline)
            fence = ShardFence(shard, epoch, epoch_subject(self._namespace, shard), self._valid)
            if (other := self._fences.get(shard)) is not None:
                other.close()
            self._fences[shard] = fence
            return fence

    async def release(self, shard: int, deadline: float) -> None:
        """Take no more writes for the shard, and return when the one on its way has ended; others wait in vain.

        Raises:
            DeadlineError: it has not ended by the deadline; no other goes out all the same.
        """
        fence = self._fences.get(shard)
        if fence is None:
            return
        fence.is_open = False
        try:
            async with self._turns.at(shard, deadline, f"waiting for writes to shard {shard}"):
                pass
        finally:
            if self._fences.get(shard) is fence:
                self.close(shard)

    def close(self, shard: int) -> None:
        """Take no more writes for the shard, at once; the one on its way sends no further copy."""
        if (fence := self._fences.pop(shard, None)) is not None:
            fence.close()

    def close_all(self) -> None:
        """Take no more writes for any shard, at once."""
        for shard in [*self._fences]:
            self.close(shard)

    def _owned(self, shard: int) -> ShardFence:
        fence = self._fences.get(shard)
        if fence is None:
            raise NotOwnerError(shard, self._owner_of(shard))
        if not fence.may_write():
            raise self._refusal(fence)
        return fence

    def _refusal(self, fence: ShardFence) -> NotOwnerError:
        # A later record of this very node ended the fence: it took the shard in a later life, and is nobody to be sent to.
        owner = None if fence.owner == self._node else fence.owner
        return NotOwnerError(fence.shard, owner or self._owner_of(fence.shard))

    def _gate(self, fence: ShardFence) -> ShardGate:
        return ShardGate(self._log, self._namespace, fence.shard, fence.may_send, lambda: self._refusal(fence))

    # Turns.

    async def _as_owner(self, shard: int, deadline: float, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return what an attempt returns, made again as often as the shard comes (back) to this process."""
        while True:
            try:
                return await attempt()
            except NotOwnerError:
                # Nothing of it is stored, nor can come to be, so it can be tried again as if it were new.
                if self._wait is None:
                    raise
                await self._wait(shard, deadline)

    async def _take_turn(self, shard: int, deadline: float, recall: Callable[[int], None] | None = None) -> None:
        try:
            await self._turns.take(shard, deadline, f"waiting for earlier writes to shard {shard}", recall)
        except DeadlineError as error:
            raise ShardUnavailableError(shard, error.what, error.timeout_s) from error

    # Pipelines, which send by themselves while they hold a shard's turn.

    def may_send(self) -> bool:
        """Say whether this node may act as an owner at this moment."""
        return self._valid()

    def borrow_now(self, shard: int, recall: Callable[[int], None]) -> ShardFence | None:
        """Take the shard's turn if it is ours and free; see `borrow`."""
        fence = self._fences.get(shard)
        if fence is None or not fence.may_write() or not self._turns.take_now(shard, recall):
            return None
        return fence

    async def borrow(self, shard: int, deadline: float, recall: Callable[[int], None]) -> ShardFence:
        """Take the shard's turn, to be given back with `give_back`; `recall` is called with the shard when others want it.

        Raises:
            NotOwnerError: this process does not own the shard, or not any more.
            ShardUnavailableError: it was on its way, or another's, until the deadline.
        """
        return await self._as_owner(shard, deadline, lambda: self._borrow(shard, deadline, recall))

    async def _borrow(self, shard: int, deadline: float, recall: Callable[[int], None]) -> ShardFence:
        self._owned(shard)
        await self._take_turn(shard, deadline, recall)
        try:
            return self._owned(shard)
        except NotOwnerError:
            self._turns.give_back(shard)
            raise

    def is_wanted(self, shard: int) -> bool:
        """Say whether others wait for the shard's turn."""
        return self._turns.is_wanted(shard)

    def give_back(self, shard: int) -> None:
        """End a turn that was borrowed."""
        self._turns.give_back(shard)
