"""The way into a shard: how its owner's messages are brought in, and how it is taken, over the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether._native import encode_epoch
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.pauses import pause
from aether.nats.subjects import epoch_subject, shard_filter
from aether.store.fence import Delivery, Passage

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.errors import NotOwnerError
    from aether.nats.stream_log import StreamLog

__all__ = ["ShardGate"]

PAUSE_ATTEMPT_MAX = 3
"""Who takes a shard from an owner that goes on writing has to be quick: it never waits longer than 16 ms."""


class ShardGate:
    """Drives what is written to one shard.

    Args:
        log: the namespace's event stream.
        namespace: the namespace.
        shard: the shard.
        may_send: says whether a message may go out at this moment; asked right before each copy.
        refusal: gives the error where none may, and none is in doubt.
    """

    def __init__(
        self,
        log: StreamLog,
        namespace: str,
        shard: int,
        may_send: Callable[[], bool],
        refusal: Callable[[], NotOwnerError],
    ) -> None:
        self._log, self._shard = log, shard
        self._may_send, self._refusal = may_send, refusal
        self._epochs = epoch_subject(namespace, shard)
        self.guarded = shard_filter(namespace, shard)

    async def take(self, node: str, incarnation: int, deadline: float) -> int:
        """Write an epoch record on top of whatever the shard holds; return its position, the epoch.

        Raises:
            NotOwnerError: the node may not send any more.
            DeadlineError: the deadline passed. A record of this attempt may still come to be, unless somebody writes to the
                shard before; it deposes whoever owns the shard then.
        """
        body = encode_epoch(node, incarnation)
        what, beaten = f"taking shard {self._shard}", 0
        while True:
            latest = await self._log.last(self.guarded, deadline)
            delivery = Delivery(0 if latest is None else latest.position, self._epochs, body)
            await self.deliver(delivery, what, deadline)
            if delivery.step is Passage.STORED:
                return delivery.position
            # The shard has moved on: its owner still writes, or another one takes it.
            if beaten:
                await pause(min(beaten, PAUSE_ATTEMPT_MAX), deadline, what, self._log.timeout_s)
            beaten += 1

    async def deliver(self, delivery: Delivery, what: str, deadline: float) -> None:
        """Drive a delivery to its end.

        Raises:
            NotOwnerError: no copy may go out, and none is in doubt.
            DeadlineError: the deadline passed; whether a copy is in doubt the delivery says.
        """
        repeats = 0
        while delivery.step not in (Passage.STORED, Passage.BEATEN):
            if delivery.repeats > repeats:
                repeats = delivery.repeats
                await pause(repeats, deadline, what, self._log.timeout_s)
            if delivery.step is Passage.LOOK_BEHIND:
                delivery.on_behind(await self._log.next(self.guarded, delivery.guard + 1, deadline))
            elif self._may_send():
                await self._send(delivery, deadline)
            elif delivery.in_doubt:
                delivery.hold()
            else:
                raise self._refusal()

    async def _send(self, delivery: Delivery, deadline: float) -> None:
        try:
            published = await self._log.publish(delivery.subject, delivery.body, delivery.guard, deadline, self.guarded)
        except NoRespondersError:
            delivery.on_unheard()
        except UnansweredError:
            delivery.on_unanswered()
        else:
            if published.refused:
                delivery.on_refused()
            else:
                delivery.on_ack(published.position)
