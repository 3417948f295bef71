"""What a write of a shard's owner does next, as a pure state machine: the actor's version, on top of what `Delivery` does.

It differs from `GuardedWrite` in one thing: the guard speaks of the shard, not of the actor, so the server would not refuse a
commit that was made on top of an old head of the actor. Hence no guess and no plain read: a head is used only if it was made
under this fence, or read with the proof that nothing of the shard was missing in it (`ShardFence.proves`). Then the guard refuses
the commit exactly if something came to the shard since.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

from aether._native import Commit, Head
from aether.errors import DecodeError
from aether.store.fence import Delivery, Passage

if TYPE_CHECKING:
    from aether._native import Event
    from aether.nats.messages import Message
    from aether.store.fence import ShardFence
    from aether.store.guarded_write import WriteRequest

__all__ = ["FencedStep", "FencedWrite"]


class FencedStep(Enum):
    """What the driver of a fenced write does next."""

    READ_HEAD = auto()
    """Read the actor's last message and the shard's epoch record in one answer, then call `on_read`."""
    DELIVER = auto()
    """Encode `events` on top of `head`, call `deliver`, drive the delivery to its end, then call `on_delivered`."""
    FIND_STORED = auto()
    """Look whether the very same events are stored already, then call `on_stored`."""
    DONE = auto()
    """Stored, up to `version`, at `position`."""
    CONFLICT = auto()
    """Not stored: the actor is at `actual`, the request counted on `request.expected`."""
    DEPOSED = auto()
    """Not stored, and it can never be: the fence is closed."""


class FencedWrite:
    """The course of one write under a fence, in the shard's turn.

    Args:
        request: what to write.
        fence: the shard's fence; `last` follows what becomes of the write.
        head: what is remembered of the actor under this fence, or None.

    Attributes:
        step: what to do next.
        head: the head that the events go on top of; once DONE, the one they made.
        latest: the actor's last message, as last read.
        events: what to write.
        delivery: the commit on its way.
        adopted: an earlier commit of this fence that was found instead, and the head that it made.
        repeats: how often a read had to be made again, so that the driver waits a little before the next.
        version, position: what was stored and where, once DONE.
        found: once DONE, the very same events were there, though no copy of this write was met with silence.
        actual: the version really there, on CONFLICT.
    """

    def __init__(self, request: WriteRequest, fence: ShardFence, head: Head | None) -> None:
        self.request, self.fence, self.head = request, fence, head
        self.events: list[Event] = []
        self.delivery: Delivery | None = None
        self.adopted: tuple[str, Head] | None = None
        self.found = False
        self.repeats = 0
        self.version = self.position = self.actual = 0
        self.latest: Message | None = None
        self._fresh = False
        self.step = self._decide()

    @property
    def in_doubt(self) -> bool:
        """Whether a copy was sent and the log has not told yet what became of it."""
        return self.delivery is not None and self.delivery.in_doubt

    def _decide(self) -> FencedStep:
        self.delivery = None
        if self.fence.closed:
            return FencedStep.DEPOSED
        if self.head is None:
            return FencedStep.READ_HEAD
        events = self.request.plan(self.head.version)
        if events is not None:
            self.events = events
            return FencedStep.DELIVER
        if not self._fresh:
            return FencedStep.READ_HEAD
        self.actual = self.head.version
        return FencedStep.FIND_STORED if self.request.may_be_stored(self.actual) else FencedStep.CONFLICT

    def on_read(self, latest: Message | None, record: Message | None, reached: int) -> None:
        """Take the actor's last message and the shard's epoch record as one replica has them, and how far that had got.

        Raises:
            DecodeError: the actor's last message is no commit of it; the driver says where.
        """
        if not self.fence.proves(record, reached):
            self.repeats += 1
            self.step = FencedStep.DEPOSED if self.fence.closed else FencedStep.READ_HEAD
            return
        self.latest = latest
        self.head = Head() if latest is None else self._head_of(latest)
        self._fresh = True
        self.step = self._decide()

    def _head_of(self, latest: Message) -> Head:
        commit = Commit.decode(latest.body)
        if commit.actor_id != self.request.actor_id:
            raise DecodeError(-1, f"it is a commit of the actor {commit.actor_id!r}")
        return commit.head(latest.position)

    def deliver(self, subject: str, body: bytes) -> Delivery:
        """Take the events as a message; return the delivery to be driven."""
        self.delivery = Delivery(self.fence.last, subject, body)
        return self.delivery

    def on_delivered(self) -> None:
        """Take the end of the delivery."""
        delivery, head = self.delivery, self.head
        if delivery is None or head is None:
            raise AssertionError("what was delivered was made on top of a head")
        if delivery.step is Passage.STORED:
            self.position = delivery.position
            self.fence.pass_to(delivery.position, delivery.subject)
            self.version = self.events[-1].version
            self.head = head.after(self.version, self.position)
            # Found behind the guard, and no copy was met with silence: most likely an earlier call wrote the same.
            self.found = delivery.was_found and not delivery.was_silent
            self.step = FencedStep.DONE
            return
        if delivery.other is None:
            raise AssertionError("a delivery ends stored, or beaten by a message")
        key = self.fence.key
        commit = self.fence.follow(delivery.other)
        self.adopted = None
        if commit is not None:
            made = commit.head(delivery.other.position)
            self.adopted = (commit.actor_id, made)
            if commit.actor_id == self.request.actor_id and made.sequence > head.sequence:
                self.head = made
        elif self.fence.key != key:
            self.head = None  # something foreign lies in the shard: only a read tells what the actor holds
        self._fresh = False
        self.step = self._decide()

    def on_stored(self, position: int | None) -> None:
        """Take the position of the very same events, or None: they are not there."""
        if position is None:
            self.step = FencedStep.CONFLICT
        else:
            self.version, self.position, self.step, self.found = self.actual, position, FencedStep.DONE, True
