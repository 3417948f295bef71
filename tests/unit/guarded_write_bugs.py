"""Guarded writes that get one rule wrong, for the model to catch."""

from __future__ import annotations

from aether._native import Commit
from aether.nats.messages import Message
from aether.store.guarded_write import GuardedWrite, Step


class RefusalIsConflict(GuardedWrite):
    """Takes a refusal for a conflict though an earlier copy is unresolved."""

    def on_refused(self) -> None:
        """Conflict at once."""
        super().on_refused()
        if self.in_doubt:
            self.actual, self.step, self.in_doubt = 0, Step.CONFLICT, False


class RefusalIsProof(GuardedWrite):
    """Takes a refusal for "not stored" as long as no copy was met with silence."""

    def on_refused(self) -> None:
        """In doubt only if it was so before."""
        doubt = self.in_doubt
        super().on_refused()
        self.in_doubt = doubt

    def on_head(self, latest: Message | None) -> None:
        """Send again what was only refused."""
        known = self.head.sequence if self.head is not None else 0
        if self._refused and (latest.position if latest is not None else 0) == known:
            self.step = Step.SEND
        else:
            super().on_head(latest)


class SinceIsIgnoredInSilence(GuardedWrite):
    """Takes the shortcut of a refused write for one that was met with silence, on what it thinks the stream's end."""

    def on_head(self, latest: Message | None) -> None:
        """Believe that the stream reached far before the copy was sent."""
        self._silent, self.since = False, 10**9
        super().on_head(latest)


class SilenceIsLoss(GuardedWrite):
    """Takes silence for "not stored" once the head has moved, and goes out again on top."""

    def on_behind(self, message: Message | None) -> None:
        """Never find our bytes."""
        super().on_behind(None if message is None else Message(message.position, message.subject, b""))

    def on_head(self, latest: Message | None) -> None:
        """Nor in the head."""
        body, self.body = self.body, b"" if self.in_doubt else self.body
        super().on_head(latest)
        if self.step is Step.SEND and not self.body and self.in_doubt:
            self.body = body


class SilenceIsNothing(GuardedWrite):
    """Forgets that a copy is out."""

    def on_unanswered(self) -> None:
        """Not in doubt."""
        super().on_unanswered()
        self.in_doubt = False


class SilenceIsSuccess(GuardedWrite):
    """Takes whatever lies behind the guard for its own."""

    def on_behind(self, message: Message | None) -> None:
        """Always find our bytes."""
        super().on_behind(None if message is None else Message(message.position, message.subject, self.body))


class SameVersionIsOurs(GuardedWrite):
    """Compares versions where bytes have to be compared."""

    def on_behind(self, message: Message | None) -> None:
        """Find our version."""
        if message is not None and Commit.decode(message.body).version == self.events[-1].version:
            message = Message(message.position, message.subject, self.body)
        super().on_behind(message)


class NewGuardInDoubt(GuardedWrite):
    """Goes out under a new guard while the old copy is unresolved."""

    def on_head(self, latest: Message | None) -> None:
        """Judge the head as if nothing were out."""
        doubt, self.in_doubt = self.in_doubt, False
        super().on_head(latest)
        self.in_doubt = doubt and self.step is Step.SEND and bool(self.body)


class DoubtForEver(GuardedWrite):
    """Stays in doubt after the doubt is resolved."""

    def on_behind(self, message: Message | None) -> None:
        """Stay in doubt."""
        super().on_behind(message)
        self.in_doubt = self.step is not Step.DONE


PLANTED = [
    RefusalIsConflict,
    RefusalIsProof,
    SinceIsIgnoredInSilence,
    SilenceIsLoss,
    SilenceIsNothing,
    SilenceIsSuccess,
    SameVersionIsOurs,
    NewGuardInDoubt,
    DoubtForEver,
]
