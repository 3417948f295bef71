"""Fences and fenced writes that get one rule wrong, for the model to catch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fenced_write_model import FencedWriteModel

from aether.nats.messages import Message
from aether.store.fence import Delivery, Passage, ShardFence
from aether.store.fenced_write import FencedWrite

if TYPE_CHECKING:
    from aether._native import Commit


class NoGuard(FencedWriteModel):
    """The server takes whatever comes."""

    is_guarded = False


class AnyReadIsProof(ShardFence):
    """Takes a replica's answer for whole, however far it got."""

    def proves(self, record: Message | None, reached: int) -> bool:
        """Look at the record alone."""
        return super().proves(record, max(reached, self.last))


class OwnershipIsRemembered(ShardFence):
    """Steps over another node's epoch record, and goes on as the owner."""

    def follow(self, message: Message) -> Commit | None:
        """Take any message for one that came by accident."""
        commit = super().follow(message)
        if self.closed:
            self.closed, self.is_open, self.last = False, True, message.position
        return commit


class OneKeyForEver(ShardFence):
    """Finds what was remembered before another node had the shard."""

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # as they come
        self.key = 0


class AnyListingIsProof(FencedWriteModel):
    """Takes whoever a server names for all who are in the shard."""

    is_proven = staticmethod(lambda *_: True)


class ListingBeginsLate(FencedWriteModel):
    """Adds to a roster from when it is filled, not from when it was asked for."""

    is_begun_late = True


class ComersAreNotListed(ShardFence):
    """Adds nobody to a roster."""

    def pass_to(self, position: int, subject: str) -> None:
        """Add another."""
        super().pass_to(position, subject + "x")


class SilenceIsLoss(Delivery):
    """Takes silence for "not stored", whatever the log says."""

    def on_behind(self, message: Message | None) -> None:
        """Never find our bytes."""
        super().on_behind(None if message is None else Message(message.position, message.subject, message.body + b"x"))


class SilenceIsNothing(Delivery):
    """Forgets that a copy is out."""

    def on_unanswered(self) -> None:
        """Not in doubt."""
        super().on_unanswered()
        self.in_doubt = False


class RefusalIsNothing(Delivery):
    """Takes a refusal for "not stored" at once."""

    def on_refused(self) -> None:
        """Not in doubt."""
        super().on_refused()
        self.in_doubt = False


class SilenceIsSuccess(Delivery):
    """Takes whatever lies behind the guard for its own."""

    def on_behind(self, message: Message | None) -> None:
        """Always find our bytes."""
        super().on_behind(None if message is None else Message(message.position, self.subject, self.body))


class SubjectIsEnough(Delivery):
    """Compares subjects where bytes have to be compared."""

    def on_behind(self, message: Message | None) -> None:
        """Find our subject."""
        if message is not None and message.subject == self.subject:
            message = Message(message.position, message.subject, self.body)
        super().on_behind(message)


class OwnCommitIsPassed(FencedWrite):
    """Goes on over an earlier commit of its own, on top of the head from before it."""

    def on_delivered(self) -> None:
        """Keep the head."""
        head, beaten = self.head, self.delivery is not None and self.delivery.step is Passage.BEATEN
        super().on_delivered()
        if beaten and head is not None and not self.fence.closed:
            self.head, self.adopted = head, None
            self.step = self._decide()


PLANTED: dict[str, type[FencedWriteModel]] = {
    **{bug.__name__: bug for bug in (NoGuard, AnyListingIsProof, ListingBeginsLate)},
    **{
        bug.__name__: type(bug.__name__, (FencedWriteModel,), {place: bug})
        for place, bugs in {
            "fence_class": (AnyReadIsProof, OwnershipIsRemembered, OneKeyForEver, ComersAreNotListed),
            "delivery_class": (SilenceIsLoss, SilenceIsNothing, RefusalIsNothing, SilenceIsSuccess, SubjectIsEnough),
            "write_class": (OwnCommitIsPassed,),
        }.items()
        for bug in bugs
    },
}
