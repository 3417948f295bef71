"""The fence of a shard: what its owner knows of it, and how one message gets in under it. Pure: no clock, no network.

A node takes a shard by writing an *epoch record* to it under the guard "the shard's last message is at g", with one spelling of
the shard's filter that every writer uses. The record's position is the epoch. From then on every commit of the owner goes out
under the same guard with the last position that the owner knows, one at a time, and names its epoch. So:

- Whatever lies behind the last position that we know was written under a guard that we did not move: it is an earlier message of
  ours whose ack was lost, or another node has taken the shard. Its first message tells which.
- A message of ours that was refused, or met with silence, is in doubt until that first message is known: ours byte for byte, or
  another, and then no copy of ours can ever be stored (docs/decisions/0001 and 0006).
- What we remember of an actor is exact as long as a write under the guard is accepted: nothing else can have come to the shard.
"""

from __future__ import annotations

import itertools
from enum import Enum, auto
from typing import TYPE_CHECKING

from aether._native import Commit, EpochRecord, FenceMark
from aether.errors import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.nats.messages import Message

__all__ = ["Delivery", "Passage", "ShardFence"]

_KEYS = itertools.count(1)


class ShardFence:
    """A shard that this process has taken.

    Args:
        shard: the shard.
        epoch: the position of the epoch record that took it.
        epoch_subject: where the shard's epoch records lie.
        valid: says whether this node may act as an owner at this moment, by its lease and its clock.

    Attributes:
        last: the position of the shard's last message, as we know it; what lies behind it is not ours, or in doubt.
        key: names what is remembered of the shard's actors; it changes where that may be out of date.
        is_open: writes are taken.
        closed: lost or given back, for ever.
        owner: who has taken the shard since, where that is known.
        mark: `last`, `key`, `is_open` and the roster where pipelines that write under the fence have them too.
        absent: how many answers said that an actor is not there, since a roster was begun last.
    """

    def __init__(self, shard: int, epoch: int, epoch_subject: str, valid: Callable[[], bool]) -> None:
        self.shard, self.epoch = shard, epoch
        self.epoch_subject = epoch_subject
        self._valid = valid
        self.closed = False
        self.owner: str | None = None
        self.absent = 0
        self.mark = FenceMark(epoch, next(_KEYS))

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self.is_open else "taken"
        return f"<ShardFence of shard {self.shard}: epoch {self.epoch}, {state}, up to {self.last}>"

    @property
    def last(self) -> int:
        """The position of the shard's last message, as we know it."""
        return self.mark.last

    @last.setter
    def last(self, position: int) -> None:
        self.mark.last = position

    def pass_to(self, position: int, subject: str) -> None:
        """Take it that the shard's last message is this one, of a writer under this fence."""
        self.mark.pass_to(position, subject)

    @property
    def key(self) -> int:
        """The name of what is remembered of the shard's actors."""
        return self.mark.key

    @key.setter
    def key(self, key: int) -> None:
        self.mark.key = key

    @property
    def is_open(self) -> bool:
        """Whether writes are taken."""
        return self.mark.is_open

    @is_open.setter
    def is_open(self, is_open: bool) -> None:
        self.mark.is_open = is_open

    def may_write(self) -> bool:
        """Say whether a write may begin now."""
        return self.is_open and self.may_send()

    def may_send(self) -> bool:
        """Say whether a message may go out now: it reads the clock, so it is asked right before each."""
        return not self.closed and self._valid()

    def close(self, owner: str | None = None) -> None:
        """Take no more writes, for ever."""
        self.closed, self.is_open = True, False
        self.owner = owner or self.owner

    def forget(self) -> None:
        """Use nothing any more that was remembered of the shard's actors."""
        self.key = next(_KEYS)

    def proves(self, record: Message | None, reached: int, through: int | None = None) -> bool:
        """Say whether what a replica answered holds all that was written to the shard up to `last`, with our epoch as its newest.

        A replica that lags, or a leader that was deposed behind a partition, does not reach it. A newer epoch closes the fence.

        Args:
            record: the shard's newest epoch record, as that replica has it.
            reached: how far the replica had got when it answered.
            through: what it must have reached, where what came behind that is known otherwise; None: `last`.
        """
        if record is not None and record.position > self.epoch:
            self.close(_node(record))
        return record is not None and record.position == self.epoch and reached >= (self.last if through is None else through)

    def follow(self, message: Message) -> Commit | None:
        """Take the shard's first message behind `last`, which is none that is on its way now.

        Returns:
            The commit, if it is an earlier one of this epoch whose ack was lost. None: the fence is closed now, or this is no
            message of any owner, so that what was remembered of the shard is not used any more.
        """
        if message.subject == self.epoch_subject:
            self.close(_node(message))
            return None
        try:
            commit = Commit.decode(message.body)
        except DecodeError:
            commit = None
        if commit is not None and commit.epoch is not None and commit.epoch > self.epoch:
            self.close()
            return None
        if commit is not None and commit.epoch == self.epoch:
            self.pass_to(message.position, message.subject)
            return commit
        self.last = message.position
        self.forget()
        return None


def _node(record: Message) -> str | None:
    try:
        return EpochRecord.decode(record.body).node
    except DecodeError:
        return None  # its position says all that matters here; whoever reads the shard is told of the damage


class Passage(Enum):
    """What becomes of a message that is to be written, and what is done next."""

    SEND = auto()
    """Publish the body under the guard, then call the `on_…` for what came back."""
    LOOK_BEHIND = auto()
    """Read the first message behind the guard from the leader, then call `on_behind`."""
    STORED = auto()
    """It lies at `position`."""
    BEATEN = auto()
    """`other` is the first message behind the guard, so no copy of this one is stored or can come to be."""


class Delivery:
    """The course of one message under one guard; every copy of it has the same bytes and the same guard.

    Args:
        guard: the position of the shard's last message.
        subject: where it goes.
        body: what it says.

    Attributes:
        step: what to do next, or how it ended.
        in_doubt: a copy was sent, and the log has not told yet what became of it.
        was_silent: a copy was met with silence.
        was_found: no ack told where it lies, but the log.
        repeats: how often the same had to be done again, so that the driver waits a little before the next step.
    """

    def __init__(self, guard: int, subject: str, body: bytes) -> None:
        self.guard, self.subject, self.body = guard, subject, body
        self.step = Passage.SEND
        self.in_doubt = self.was_silent = self.was_found = False
        self.repeats = 0
        self.position = 0
        self.other: Message | None = None

    def on_ack(self, position: int) -> None:
        """Take the position at which the server stored it."""
        self.position, self.step, self.in_doubt = position, Passage.STORED, False

    def on_refused(self) -> None:
        """Take a refusal: the guard did not hold, another write is in flight, or a copy of ours was first."""
        self.in_doubt = True
        self.step = Passage.LOOK_BEHIND

    def on_unanswered(self) -> None:
        """Take it that it was sent and no answer came."""
        self.in_doubt = self.was_silent = True
        self.step = Passage.LOOK_BEHIND

    def on_unheard(self) -> None:
        """Take it that nobody listened: nothing changed by this copy."""
        self.repeats += 1
        self.step = Passage.LOOK_BEHIND if self.in_doubt else Passage.SEND

    def on_behind(self, message: Message | None) -> None:
        """Take the first message behind the guard; None: there is none, so the write is still open."""
        if message is None:
            self.repeats += 1
            self.step = Passage.SEND
        elif message.subject == self.subject and message.body == self.body:
            self.was_found = True
            self.on_ack(message.position)
        else:
            self.in_doubt, self.other, self.step = False, message, Passage.BEATEN

    def hold(self) -> None:
        """Send no further copy for now, though the write is open: this node may not act as the owner at this moment."""
        self.repeats += 1
        self.step = Passage.LOOK_BEHIND
