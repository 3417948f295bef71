"""Runs commands of the actors that this node owns: each actor is in memory, and does one command at a time.

A command runs in a task of its actor and not of whoever asked, so nobody who gives up leaves a write half done. A copy of a
command that is under way gets the outcome of the first. What an actor has in memory counts only under the epoch under which it
was loaded, and only as long as every write of it was answered; else it is loaded anew before the next command.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from aether._native import decode
from aether.cluster.actor_records import ActorRecords
from aether.cluster.actors import RefusedError
from aether.cluster.commands import FRAME_BYTES_MAX, Command, Outcome
from aether.cluster.ending import end_tasks
from aether.cluster.pulse import until
from aether.errors import (
    AetherError,
    CorruptEventError,
    DeadlineError,
    EncodeError,
    NotOwnerError,
    OutcomeUnknownError,
    ServerUnavailableError,
    VersionConflictError,
)
from aether.nats.pauses import pause

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.actors import Actor, Behaviour, Decision
    from aether.cluster.host_node import HostNode
    from aether.cluster.pulse import Pulse
    from aether.cluster.residents import Resident, Residents
    from aether.event import Snapshot

__all__ = ["ActorRunner", "RunnerStats"]

_LOG = logging.getLogger("aether.cluster")

WAITING_MAX = 10_000
"""How many commands wait or run at a time; of more, whoever asks is told to try again."""

TEXT_MAX = 2_000
NAME_MAX = 200
"""How many characters whoever asked is told of an exception, and of its class's name."""

SLOW_S, SLOW_KEPT = 0.5, 1_000
"""How long an actor's code may hold the loop before it is to blame for a lease that ended meanwhile, in seconds, and how many
such commands are remembered."""

LOOK_AGAIN_S = 1.0
"""How long a command waits for its actor's shard before it is looked at again, should nothing be told of a change."""


class Job(NamedTuple):
    """A command that waits for its actor.

    Attributes:
        deadline: until when somebody waits for it, on the loop's clock.
        asked: whoever waits for what becomes of it, one for each copy; one may give up without the others.
    """

    command: Command
    deadline: float
    asked: list[asyncio.Future[Outcome]]


@dataclass
class RunnerStats:
    """What a runner did.

    Attributes:
        handled: commands that were handled for the first time.
        repeated: copies of commands that had been handled, or were being handled.
        failed: commands on which the actor's code raised.
        loads: actors loaded.
        conflicts: actors loaded again because somebody else had written.
        unknown: writes of which nobody could say whether they were stored.
    """

    handled: int = 0
    repeated: int = 0
    failed: int = 0
    loads: int = 0
    conflicts: int = 0
    unknown: int = 0


class ActorRunner:
    """The actors of one node.

    Args:
        node: the node.
        factory: makes an actor's behaviour.
        residents: the actors in memory.
        remembered_max: how many of its last commands each remembers.
        moved: beats when the node may own other shards.
        snapshots: takes snapshots; says whether it took this one. None: none are made, and none are read.
        snapshot_every: how many events after the last snapshot the next is taken.
    """

    def __init__(
        self,
        node: HostNode,
        factory: Callable[[str], Behaviour],
        *,
        residents: Residents,
        remembered_max: int,
        moved: Pulse,
        snapshots: Callable[[Snapshot], bool] | None,
        snapshot_every: int,
    ) -> None:
        self._node, self._residents, self._moved = node, residents, moved
        self._records = ActorRecords(
            node.store, factory, remembered_max=remembered_max, snapshots=snapshots, snapshot_every=snapshot_every
        )
        self._jobs: dict[tuple[str, str], Job] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._slow: dict[tuple[str, str], str] = {}
        self._is_closing = False
        self.stats = RunnerStats()

    @property
    def waiting(self) -> int:
        """How many commands wait or run."""
        return len(self._jobs)

    async def run(self, command: Command) -> Outcome:
        """Do a command, or say why not. Whoever is cancelled here stops waiting; the command goes on."""
        job = self._jobs.get((command.actor_id, command.command_id))
        if job is None:
            if self._is_closing:
                return Outcome("unavailable", text="the host is closing")
            if len(self._jobs) >= WAITING_MAX:
                return Outcome("unavailable", text=f"{WAITING_MAX:,} commands wait there already")
            job = self._enqueue(command)
        else:
            self.stats.repeated += 1
        done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        job.asked.append(done)
        return await done

    def _enqueue(self, command: Command) -> Job:
        loop = asyncio.get_running_loop()
        job = Job(command, loop.time() + command.timeout_s, [])
        self._jobs[command.actor_id, command.command_id] = job
        resident, is_new = self._residents.use(command.actor_id)
        resident.waiting.append(job)
        if is_new:
            task = loop.create_task(self._work(resident), name="aether-actor")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return job

    async def aclose(self, deadline: float) -> None:
        """Take no more commands, and finish those that can be; what is left at the deadline, or when cancelled, ends there."""
        self._is_closing = True
        self._moved.beat()
        try:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=max(0.0, deadline - asyncio.get_running_loop().time()))
        finally:
            if late := [task for task in self._tasks if not task.done()]:
                _LOG.warning("the host of %a was closed, and %d actors had not finished", self._node.node_id, len(late))
                await end_tasks(late)

    # One actor.

    async def _work(self, resident: Resident) -> None:
        try:
            while resident.waiting:
                job = resident.waiting.popleft()
                outcome = Outcome("unknown", text="the host was closed")
                try:
                    outcome = await self._outcome(resident, job)
                finally:
                    self._finish(job, outcome)
        finally:
            for job in resident.waiting:
                self._finish(job, Outcome("unavailable", text="the host was closed"))
            resident.waiting.clear()
            self._residents.rest(resident, asyncio.get_running_loop().time())

    def _finish(self, job: Job, outcome: Outcome) -> None:
        del self._jobs[job.command.actor_id, job.command.command_id]
        for done in job.asked:
            if not done.done():
                done.set_result(outcome)

    async def _outcome(self, resident: Resident, job: Job) -> Outcome:
        """Do one command; whatever happens is its outcome."""
        attempt = 0
        while True:
            try:
                outcome = await self._try(resident, job)
            except VersionConflictError:
                # Somebody wrote to the actor by the store, or what was read was old. The truth is loaded, and decides.
                self.stats.conflicts += 1
                outcome = None
            except (RefusedError, AetherError) as error:
                return self._told(resident, job, error)
            except Exception as error:  # noqa: BLE001 - a mistake of ours; the actor's other commands go on
                _LOG.exception("a command of %a ended in an error that nobody expected", job.command.actor_id)
                resident.actor = None
                return Outcome("unknown", text=repr(error)[:TEXT_MAX])
            finally:
                if resident.actor is not None and resident.actor.is_ahead:
                    resident.actor = None
            if outcome is not None:
                return outcome
            resident.actor = None
            attempt += 1
            try:
                await pause(attempt, job.deadline, "another writer was always first", job.command.timeout_s)
            except DeadlineError as error:
                return Outcome("unavailable", text=str(error))

    def _told(self, resident: Resident, job: Job, error: Exception) -> Outcome:
        """Say what an error means for whoever asked."""
        actor_id = job.command.actor_id
        if isinstance(error, RefusedError):
            self.stats.failed += 1
            return _failed(error.error)
        resident.actor = None
        if isinstance(error, OutcomeUnknownError):
            self.stats.unknown += 1
            return Outcome("unknown", text=str(error))
        if isinstance(error, NotOwnerError):
            return Outcome("moved", owner=error.owner, text=str(error))
        if isinstance(error, DeadlineError | ServerUnavailableError):
            return Outcome("unavailable", text=str(error))
        level = logging.ERROR if isinstance(error, CorruptEventError) else logging.WARNING
        _LOG.log(level, "a command of %a was not done: %s", actor_id, error)
        return _failed(error)

    async def _try(self, resident: Resident, job: Job) -> Outcome | None:
        """Do one command, once the actor is ours; None: what it was decided on does not hold any more."""
        command = job.command
        epoch = await self._until_owned(job)
        if isinstance(epoch, Outcome):
            return epoch
        actor = resident.actor
        if actor is None or resident.epoch != epoch:
            actor = await self._records.load(resident, epoch)
            self.stats.loads += 1
        version = actor.commands.get(command.command_id)
        if version is not None:
            self.stats.repeated += 1
            return await self._records.answered(command, version)
        decision = self._decide(actor, command, epoch)
        if decision is None:
            return None
        self._check_reply(decision.reply)
        if decision.events:
            await self._node.store.save_events(decision.events)
            actor.accept(decision, command.command_id)
            self._records.take_snapshot(resident, actor)
        elif self._node.epoch_of(command.actor_id) != epoch:
            return None  # what was looked at may be old; a write would have been refused
        self.stats.handled += 1
        return Outcome("replied", reply=decision.reply)

    def _decide(self, actor: Actor, command: Command, epoch: int) -> Decision | None:
        """Have an actor decide; None: it took so long that the node's lease ended, so nothing may be written.

        That may have been the machine. It is not tried here again all the same, or each owner would lose its lease in turn.
        """
        loop, key = asyncio.get_running_loop(), (command.actor_id, command.command_id)
        if (why := self._slow.get(key)) is not None:
            raise RefusedError(TimeoutError(why))
        began_at = loop.time()
        decision = actor.decide(command.command_id, decode(command.payload))
        took_s = loop.time() - began_at
        if took_s <= SLOW_S or self._node.epoch_of(command.actor_id) == epoch:
            return decision
        why = (
            f"its code held the event loop of {self._node.node_id!a} for {took_s:.1f} s, and the node's lease ended "
            "meanwhile; let handle and apply take less, or give the nodes a longer ttl"
        )
        _LOG.error("a command of %a was not done: %s", command.actor_id, why)
        self._slow[key] = why
        if len(self._slow) > SLOW_KEPT:
            del self._slow[next(iter(self._slow))]
        return None

    def _check_reply(self, reply: bytes) -> None:
        """Refuse a reply that no message takes, wherever it was asked for: else it would depend on where the actor is."""
        most = self._node.message_bytes_max - FRAME_BYTES_MAX
        if len(reply) > most:
            raise RefusedError(EncodeError("reply", f"{len(reply):,} bytes, and a message of this server takes {most:,}"))

    async def _until_owned(self, job: Job) -> int | Outcome:
        """Return the epoch once the node may write; commands that come while a shard moves here wait so."""
        actor_id, loop = job.command.actor_id, asyncio.get_running_loop()
        while True:
            beat = self._moved.next
            if loop.time() >= job.deadline:
                return Outcome("unavailable", text="neither its turn nor its shard came in time")
            epoch = self._node.epoch_of(actor_id)
            if epoch is not None:
                return epoch
            owner = self._node.owner_of(actor_id)
            if self._is_closing or (owner is not None and owner.name != self._node.node_id):
                return Outcome("moved", owner=None if owner is None else owner.name)
            await until(beat, min(job.deadline, loop.time() + LOOK_AGAIN_S))


def _failed(error: BaseException) -> Outcome:
    """Return what whoever asked is told of an error; of many words the first."""
    try:
        text = str(error)
    except Exception as second:  # noqa: BLE001 - anybody's code
        text = f"its text raised {type(second).__name__}"
    cut = text if len(text) <= TEXT_MAX else f"{text[:TEXT_MAX]}..."
    return Outcome("failed", error=type(error).__name__[:NAME_MAX], text=cut.encode(errors="replace").decode())
