"""Errors of a cluster: who owns a shard, who leads, and what became of a command."""

from __future__ import annotations

from aether.errors.base import AetherError, DeadlineError
from aether.errors.store import OutcomeUnknownError

__all__ = ["CommandFailedError", "CommandUnknownError", "NotLeaderError", "NotOwnerError", "ShardUnavailableError"]


class NotOwnerError(AetherError):
    """This process does not own the shard, or not any more; nothing of the call was stored, and nothing of it can come to be.

    Attributes:
        shard: the shard, 0 to 1020.
        owner: the node that owns it as far as is known; None: nobody is known to.
    """

    def __init__(self, shard: int, owner: str | None = None) -> None:
        super().__init__(shard, owner)
        self.shard, self.owner = shard, owner

    def __str__(self) -> str:
        if self.owner is None:
            return f"shard {self.shard} is not owned here, and nobody is known to own it now; try again"
        return f"shard {self.shard} is not owned here: {self.owner!r} does; send the command to the owner, or try again"


class ShardUnavailableError(DeadlineError):
    """A shard took no writes until the deadline: it was on its way from node to node, or a write before was stuck in it.

    Nothing was stored. It speaks of this one shard: writes to others are not concerned.

    Attributes:
        shard: the shard, 0 to 1020.
        what: what was waited for.
        timeout_s: the deadline that passed, in seconds.
    """

    def __init__(self, shard: int, what: str, timeout_s: float) -> None:
        super().__init__(what, timeout_s)
        self.args = (shard, what, timeout_s)
        self.shard = shard

    def __str__(self) -> str:
        return (
            f"shard {self.shard} took no writes for {self.timeout_s:g} s ({self.what}), and nothing was stored; try again once "
            "it has settled (`aether cluster shards` shows where it is), or allow more with timeout_s="
        )


class NotLeaderError(AetherError):
    """A term of leadership is over, so nothing may be done in its name.

    Attributes:
        leader: the candidate that was seen to lead last; None: nobody.
    """

    def __init__(self, leader: str | None) -> None:
        super().__init__(leader)
        self.leader = leader

    def __str__(self) -> str:
        who = "nobody leads, as far as is known" if self.leader is None else f"{self.leader!r} leads, as far as is known"
        return f"this term of leadership is over; {who}; leave the block, and wait for the next term with election.leadership()"


class CommandUnknownError(OutcomeUnknownError):
    """A command was sent to an actor, and no answer came within the deadline: it may have been handled, or may still be.

    Asking again with the same `command_id` is safe: what it did is recognised, and answered.

    Attributes:
        actor_id: the actor.
        timeout_s: the deadline that passed, in seconds.
        command_id: the command's id.
    """

    def __init__(self, actor_id: str, timeout_s: float, command_id: str) -> None:
        super().__init__(actor_id, timeout_s)
        self.args = (actor_id, timeout_s, command_id)
        self.command_id = command_id

    def __str__(self) -> str:
        return (
            f"{self.actor_id!r}: no answer to the command {self.command_id!r} within {self.timeout_s:g} s, and it may have been "
            "handled; ask again with the same command_id=, which is safe"
        )


class CommandFailedError(AetherError):
    """An actor did not do a command: its own code raised, or what it returned cannot be stored. Nothing was written.

    Attributes:
        actor_id: the actor.
        kind: the name of the exception's class, as "ValueError".
        text: what the exception said.
    """

    def __init__(self, actor_id: str, kind: str, text: str) -> None:
        super().__init__(actor_id, kind, text)
        self.actor_id, self.kind, self.text = actor_id, kind, text

    def __str__(self) -> str:
        return f"{self.actor_id!r} did not do it: {self.kind}: {self.text}"
