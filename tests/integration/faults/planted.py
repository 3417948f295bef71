"""Bugs that an owner of shards must not have, put into it on purpose: whoever judges what owners wrote must see each of them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

from aether.nats.messages import Published
from aether.nats.stream_log import StreamLog
from aether.store import fence
from aether.store.shard_gate import ShardGate

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from aether.store.fence import Delivery

__all__ = ["PLANTED"]


BETWEEN_S = 0.02
"""For how long an owner that reads first does something else then, as any may: whenever it is stopped, it has likely read."""


def _is_commit(subject: str) -> bool:
    return subject.startswith("aether.") and not subject.endswith(".=epoch")


def without_fence() -> None:
    """Publish commits without a guard: whoever believes to be the owner writes."""
    guarded = StreamLog.publish

    async def publish(
        self: StreamLog, subject: str, body: bytes, guard: int, deadline: float, *more: Any, **options: Any
    ) -> Published:
        if not _is_commit(subject):
            return await guarded(self, subject, body, guard, deadline, *more, **options)
        transport = await self._connection.ready(deadline)
        reply = await transport.request(subject, body, self._attempt(deadline))
        return Published(json.loads(reply.data)["seq"], refused=False)

    StreamLog.publish = publish  # type: ignore[method-assign]  # the bug


def ownership_from_a_read() -> None:
    """Ask the log who owns the shard, and then write without a guard."""
    without_fence()
    deliver, take = ShardGate.deliver, ShardGate.take
    own: dict[int, int] = {}

    async def asking(self: ShardGate, delivery: Delivery, what: str, deadline: float) -> None:
        if _is_commit(delivery.subject):
            record = await self._log.last(self._epochs, deadline)
            if record is not None and record.position > own[self._shard]:
                delivery.on_refused()
                delivery.on_behind(record)
                return
            await asyncio.sleep(BETWEEN_S)
        await deliver(self, delivery, what, deadline)

    async def taking(self: ShardGate, node: str, incarnation: int, deadline: float) -> int:
        own[self._shard] = await take(self, node, incarnation, deadline)
        return own[self._shard]

    ShardGate.deliver, ShardGate.take = asking, taking  # type: ignore[method-assign]  # the bug


def stale_cache() -> None:
    """Use what was remembered of actors before another had the shard."""
    keys: dict[int, int] = {}
    make = fence.ShardFence.__init__

    def remembering(self: fence.ShardFence, shard: int, *more: Any) -> None:
        make(self, shard, *more)
        self.key = keys.setdefault(shard, self.key)

    fence.ShardFence.__init__ = remembering  # type: ignore[method-assign]  # the bug


PLANTED: dict[str, Callable[[], None]] = {
    "none": lambda: None,
    "no fence": without_fence,
    "ownership from a read": ownership_from_a_read,
    "stale cache": stale_cache,
}
