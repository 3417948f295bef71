"""Asks an actor's owner, whoever that is at the moment, until there is an answer or no time left.

A command may be sent many times, to several nodes; its id makes that safe. It is sent again when the owner changes, when the
node that was asked says that the actor is elsewhere, when nobody is there, and when no answer came for a while, for both the
question and the answer travel without a receipt.

Only so many are on their way to one actor, and to one node, at a time; the others wait here in order and do nothing meanwhile.
More would only be tried again and again, and a process that is busy with that has no time for answers, nor for its own lease.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from aether.cluster.calls import NotServedError
from aether.cluster.commands import Command, Outcome, decode_outcome, encode_frame
from aether.cluster.pulse import until
from aether.errors import AetherError, CommandUnknownError, DeadlineError, DecodeError, RequestFailedError, ServerUnavailableError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.pauses import backoff_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.cluster.host_node import HostNode
    from aether.cluster.pulse import Pulse

__all__ = ["ASK", "Asker"]

ASK = "ask"
"""What a node is asked for a command."""

RESEND_S = 2.0
"""After how long without an answer a command is sent again, in seconds; twice as long after each time, up to eight times."""

BEGIN_PART = 0.9
"""The part of the time in which the owner must begin, so that its answer, also that it cannot, comes in the rest of it."""

ACTOR_MAX = 100
"""How many commands for one actor are on their way at a time: it does one after the other."""

NODE_MAX = 1_000
"""How many commands are on their way to one node at a time, or wait for somebody to own their actors."""

NO_HOST = (
    "no ActorHost runs on that node: it begins a moment later, or it was forgotten. Every node that owns shards needs one, "
    "`async with ActorHost(node, factory)`; a node that only asks or looks on joins with weight=0, and owns none"
)

TRIES_SOON, LATER_FACTOR = 8, 2.5
"""How often a command is tried again soon, and how much longer it waits after that; a change of owners ends the wait."""


class Asker:
    """Asks for one host.

    Args:
        node: the host's node.
        run: does a command of an actor that this node owns.
        moved: beats when actors may have other owners.

    Attributes:
        sent: how many copies of commands went to other nodes.
    """

    def __init__(self, node: HostNode, run: Callable[[Command], Awaitable[Outcome]], moved: Pulse) -> None:
        self._node, self._run, self._moved = node, run, moved
        self._asked: dict[asyncio.Timeout, tuple[str, str]] = {}
        self._rooms: WeakValueDictionary[tuple[str, str], asyncio.Semaphore] = WeakValueDictionary()
        self.sent = 0
        self._is_over = False

    async def ask(self, actor_id: str, command_id: str, payload: bytes, timeout_s: float) -> Outcome:
        """Return "replied" or "failed".

        Raises:
            CommandUnknownError: no answer by the deadline, and a copy may have been handled.
            DeadlineError: no answer by the deadline, and none was.
            AetherError: the node was closed, and none was.
        """
        began_at = asyncio.get_running_loop().time()
        room = await self._enter("actor", actor_id, ACTOR_MAX, began_at + timeout_s * BEGIN_PART)
        if room is None:
            why = f"{ACTOR_MAX} commands for it are on their way from here, and others waited before this one"
            raise DeadlineError(f"asking {actor_id!a} ({why})", timeout_s)
        try:
            return await self._ask(actor_id, command_id, payload, timeout_s, began_at)
        finally:
            room.release()

    async def _ask(self, actor_id: str, command_id: str, payload: bytes, timeout_s: float, began_at: float) -> Outcome:
        loop = asyncio.get_running_loop()
        deadline, begin_by = began_at + timeout_s, began_at + timeout_s * BEGIN_PART
        attempt, why = 0, "nobody is known to own it"
        hint: str | None = None
        silences = 0
        while loop.time() < begin_by and not self._is_over:
            target = hint or self._owner(actor_id)
            room = await self._enter("node", target or "", NODE_MAX, begin_by)
            if room is None:
                why = f"{target!a}: {NODE_MAX:,} commands are on their way to it from here, and others waited before this one"
                break
            try:
                beat, left_s = self._moved.next, begin_by - loop.time()
                if left_s <= 0 or (hint is None and self._owner(actor_id) != target):
                    continue  # it went elsewhere while this one waited
                hint = None
                if target is not None:
                    command = Command(actor_id, command_id, payload, left_s)
                    # A busy owner that is asked again and again would only be busier.
                    give_up_at = min(deadline, loop.time() + RESEND_S * 2 ** min(silences, 3))
                    outcome = await self._ask_once(target, command, give_up_at, deadline)
                    if outcome.kind in ("replied", "failed"):
                        return outcome
                    silences += outcome.kind == "unknown"
                    why = f"{target!a}: {outcome.text or outcome.kind}"
                    if outcome.kind == "moved" and outcome.owner != target:
                        hint = outcome.owner
                attempt += 1
                # Where two nodes name each other, this is what keeps the command from going to and fro as fast as it can.
                if attempt > 1 or hint is None:
                    await until(beat, min(deadline, loop.time() + _pause_s(attempt)))
            finally:
                room.release()
        if silences:
            raise CommandUnknownError(actor_id, timeout_s, command_id)
        if self._is_over:
            raise AetherError(f"the node {self._node.node_id!a} was closed, so nobody can be asked; close it after its host")
        raise DeadlineError(f"asking {actor_id!a} ({why})", timeout_s)

    async def _enter(self, kind: str, name: str, most: int, until: float) -> asyncio.Semaphore | None:
        """Return a room for so many once there is room for one more, who waited longest first; None: not in time."""
        room = self._rooms.get((kind, name))
        if room is None:
            room = self._rooms[kind, name] = asyncio.Semaphore(most)
        if not room.locked():
            await room.acquire()  # without waiting
            return room
        try:
            async with asyncio.timeout_at(until):
                await room.acquire()
        except TimeoutError:
            return None
        return room

    def _owner(self, actor_id: str) -> str | None:
        owner = self._node.owner_of(actor_id)
        return None if owner is None else owner.name

    async def _ask_once(self, target: str, command: Command, give_up_at: float, deadline: float) -> Outcome:
        """Send one copy; an answer that does not come is an outcome too."""
        if target == self._node.node_id:
            return await self._ask_here(command, deadline)
        scope = asyncio.timeout_at(deadline)  # a change of owners ends the wait before that
        self.sent += 1
        try:
            async with scope:
                self._asked[scope] = (command.actor_id, target)
                return decode_outcome(await self._node.request(target, ASK, encode_frame(command), give_up_at))
        except NotServedError:
            return Outcome("unavailable", text=NO_HOST)
        except (NoRespondersError, DeadlineError, ServerUnavailableError) as error:
            return Outcome("unavailable", text=str(error))
        except (UnansweredError, DecodeError, RequestFailedError) as error:
            return Outcome("unknown", text=str(error))
        except TimeoutError:
            return Outcome("unknown", text="it did not answer before its shard went to another node")
        finally:
            self._asked.pop(scope, None)

    async def _ask_here(self, command: Command, deadline: float) -> Outcome:
        try:
            async with asyncio.timeout_at(deadline):
                return await self._run(command)
        except TimeoutError:
            return Outcome("unknown", text="no answer in time")

    def end(self) -> None:
        """Ask nobody any more: the node has ended."""
        self._is_over = True
        self._moved.beat()

    def look_again(self) -> None:
        """Let those go on who wait for a node that does not own their actor any more."""
        now = asyncio.get_running_loop().time()
        for scope, (actor_id, target) in [*self._asked.items()]:
            # An actor without an owner may still be answered by the one who had it.
            if not scope.expired() and self._owner(actor_id) not in (None, target):
                scope.reschedule(now)


def _pause_s(attempt: int) -> float:
    """Return how long to wait before a command is tried again."""
    return backoff_s(attempt) * (1.0 if attempt <= TRIES_SOON else LATER_FACTOR)
