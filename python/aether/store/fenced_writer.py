"""Drives the writes of a shard's owner over the network: one message on its way in each shard, each under the shard's fence."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from aether._native import Head, HeadCache, actor_subject, encode_commit, shard_of
from aether.errors import AetherError, CorruptEventError, DecodeError, OutcomeUnknownError, VersionConflictError
from aether.nats.pauses import pause
from aether.nats.stream_log import guard_bytes
from aether.store.commit_writer import Written, find_stored
from aether.store.fence import Delivery, Passage
from aether.store.fenced_write import FencedStep, FencedWrite
from aether.store.reading import ActorReader
from aether.store.rosters import Rosters
from aether.store.shard_fences import ShardFences

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.nats.connection import Connection
    from aether.nats.messages import Message, Newest
    from aether.nats.stream_log import StreamLog
    from aether.store.fence import ShardFence
    from aether.store.guarded_write import WriteRequest

__all__ = ["FencedWriter"]

_LOG = logging.getLogger("aether.store")


class FencedWriter(ShardFences):
    """Writes commits of the shards that this process has taken.

    Args:
        connection: the open connection, which knows how large a message may be.
        log: the namespace's event stream.
        namespace: the namespace.
        heads_max: of how many actors the head is remembered, so that their next commit costs one round trip.
        node: this node's name.
        valid: says whether this node may act as an owner at this moment, by its lease and its clock.
        owner_of: names the owner of a shard as far as is known, for errors.
        gate: waits where a shard is on its way to this node or away, before a write that found it closed is tried again; raises
            `NotOwnerError` where it is another's. None: such a write fails at once.
    """

    def __init__(
        self,
        connection: Connection,
        log: StreamLog,
        namespace: str,
        heads_max: int,
        *,
        node: str,
        valid: Callable[[], bool],
        owner_of: Callable[[int], str | None],
        gate: Callable[[int, float], Awaitable[None]] | None = None,
    ) -> None:
        super().__init__(log, namespace, node=node, valid=valid, owner_of=owner_of, gate=gate)
        self._connection = connection
        self.heads = HeadCache(heads_max)
        """What was seen of actors, whoever reads: good enough to read on, not to write on."""
        self.exact = HeadCache(heads_max)
        """What may be written on: made or proven under a fence, and kept under its key, so that no other fence finds it."""
        self.rosters = Rosters(log, namespace)
        """Who is in the shards, so that who is not is known to be new."""

    # Writes.

    async def write(self, request: WriteRequest, deadline: float) -> Written:
        """Store the request's events as one commit.

        Raises:
            NotOwnerError: this process does not own the actor's shard, or not any more; nothing is stored.
            VersionConflictError: the actor is elsewhere than the request expects.
            OutcomeUnknownError: sent, and the deadline passed before anybody could say what became of it.
        """
        shard = shard_of(request.actor_id)
        return await self._as_owner(shard, deadline, lambda: self._write(request, shard, deadline))

    async def _write(self, request: WriteRequest, shard: int, deadline: float) -> Written:
        actor_id = request.actor_id
        self._owned(shard)  # who cannot write need not wait
        await self._take_turn(shard, deadline)
        try:
            fence = self._owned(shard)
            write = FencedWrite(request, fence, self._known(fence, actor_id))
            await self._drive(write, deadline)
        finally:
            self._turns.give_back(shard)
        match write.step:
            case FencedStep.DEPOSED:
                raise self._refusal(fence)
            case FencedStep.CONFLICT:
                raise VersionConflictError(actor_id, request.expected, write.actual)
        return Written(write.version, write.position, write.found)

    def _known(self, fence: ShardFence, actor_id: str) -> Head | None:
        head = self.exact.get(_key(fence.key, actor_id))
        return Head() if head is None and fence.mark.is_new(actor_id) else head

    async def resolve(self, fence: ShardFence, delivery: Delivery, deadline: float) -> None:
        """Find out what became of a commit that was sent in a borrowed turn and not plainly acked.

        It is sent again where it is open. Where this raises, the delivery says whether a copy is in doubt. Else it is stored, or
        no copy of it can come to be.
        """
        await self._gate(fence).deliver(delivery, f"writing to shard {fence.shard}", deadline)
        if delivery.step is Passage.STORED:
            fence.pass_to(delivery.position, delivery.subject)
        elif delivery.other is not None:
            commit = fence.follow(delivery.other)
            if commit is None:
                self._warn(fence, delivery)
            else:
                self._remember(fence, commit.actor_id, commit.head(delivery.other.position))

    async def _drive(self, write: FencedWrite, deadline: float) -> None:
        """Bring a write to its end.

        Raises:
            OutcomeUnknownError: a copy was sent, and nobody could say what became of it.
        """
        try:
            await self._drive_known(write, deadline)
        except AetherError as error:
            if write.in_doubt:
                raise OutcomeUnknownError(write.request.actor_id, self._log.timeout_s) from error
            raise

    async def _drive_known(self, write: FencedWrite, deadline: float) -> None:
        actor_id, fence = write.request.actor_id, write.fence
        subject = actor_subject(self._namespace, actor_id)
        repeats = 0
        while write.step not in (FencedStep.DONE, FencedStep.CONFLICT, FencedStep.DEPOSED):
            if write.repeats > repeats:
                repeats = write.repeats
                await pause(repeats, deadline, f"reading {actor_id!r} up to position {fence.last}", self._log.timeout_s)
            try:
                await self._do(write, subject, deadline)
            except DecodeError as error:
                position = write.latest.position if write.latest is not None else 0
                raise CorruptEventError(self._log.stream, position, actor_id, str(error)) from error
        if write.head is not None and not fence.closed:
            self._remember(fence, actor_id, write.head)

    async def _do(self, write: FencedWrite, subject: str, deadline: float) -> None:
        """Do the write's next step, and tell it what came of it."""
        match write.step:
            case FencedStep.READ_HEAD:
                write.on_read(*await self._read(write.fence, subject, deadline))
            case FencedStep.DELIVER:
                await self._deliver(write, subject, deadline)
            case FencedStep.FIND_STORED:
                write.on_stored(await find_stored(self._log, self._namespace, write.request, write.latest, deadline))

    async def _read(self, fence: ShardFence, subject: str, deadline: float) -> tuple[Message | None, Message | None, int]:
        """Return an actor's last message and its shard's epoch record as one replica has them, and how far that had got."""
        newest: Newest = await self._log.newest([subject, fence.epoch_subject], deadline)
        latest, reached = newest.messages.get(subject), newest.reached
        if latest is None and reached >= fence.last:
            # A server whose last message on a subject was damaged on its disk says the same as for a subject that never was.
            first = await self._log.next(subject, 1, deadline)
            if first is not None and first.position <= reached:
                raise CorruptEventError(
                    self._log.stream, first.position, None, f"the server has lost the last message on {subject}"
                )
            if first is not None:
                reached = 0  # it came meanwhile: the next answer has it
        return latest, newest.messages.get(fence.epoch_subject), reached

    async def _deliver(self, write: FencedWrite, subject: str, deadline: float) -> None:
        fence, head = write.fence, write.head
        if head is None:
            raise AssertionError("a write has a head before it is sent")
        gate = self._gate(fence)
        body = encode_commit(
            write.request.actor_id,
            write.events,
            head,
            header_bytes=guard_bytes(fence.last, gate.guarded),
            bytes_max=self._connection.max_payload,
            epoch=fence.epoch,
        )
        delivery = write.deliver(subject, body)
        await gate.deliver(delivery, f"writing to {write.request.actor_id!r}", deadline)
        write.on_delivered()
        if write.adopted is not None:
            self._remember(fence, *write.adopted)
        elif delivery.step is Passage.BEATEN:
            self._warn(fence, delivery)

    def _remember(self, fence: ShardFence, actor_id: str, head: Head) -> None:
        self.remember(fence.key, actor_id, head)

    def remember(self, key: int, actor_id: str, head: Head) -> None:
        """Keep a head that was made or proven under a fence, whose key was this then."""
        self.exact.put(_key(key, actor_id), head)
        if head.sequence:
            self.heads.put(actor_id, head)

    def _warn(self, fence: ShardFence, delivery: Delivery) -> None:
        other = delivery.other
        if fence.closed:
            _LOG.info("%s: shard %d was taken by %s", self._log.stream, fence.shard, fence.owner)
        elif other is not None:
            _LOG.warning(
                "%s: position %d on %s was written by no owner of shard %d; the shard's writers step over it",
                self._log.stream,
                other.position,
                other.subject,
                fence.shard,
            )

    async def repair(self, actor_id: str, deadline: float) -> tuple[int, ...]:
        """Make readers of this actor step over what is damaged; return those positions, none where nothing is.

        Appends a commit without events that names them, on top of the last good commit, under the fence as any write.
        """
        shard = shard_of(actor_id)
        return await self._as_owner(shard, deadline, lambda: self._repair_once(actor_id, shard, deadline))

    async def _repair_once(self, actor_id: str, shard: int, deadline: float) -> tuple[int, ...]:
        async with self._turns.at(shard, deadline, f"waiting for earlier writes to shard {shard}"):
            fence = self._owned(shard)
            deliveries: list[Delivery] = []
            try:
                return await self._repair(fence, actor_id, deliveries, deadline)
            except AetherError as error:
                if deliveries and deliveries[-1].in_doubt:
                    raise OutcomeUnknownError(actor_id, self._log.timeout_s) from error
                raise
            finally:
                fence.forget()

    async def _repair(self, fence: ShardFence, actor_id: str, deliveries: list[Delivery], deadline: float) -> tuple[int, ...]:
        subject, gate = actor_subject(self._namespace, actor_id), self._gate(fence)
        while True:
            latest = await self._proven(fence, subject, actor_id, deadline)
            if latest is None:
                return ()
            good, damaged = await ActorReader(self._log, self._namespace, actor_id).survey(latest, deadline)
            if not damaged:
                return ()
            body = encode_commit(
                actor_id,
                [],
                Head() if good is None else good.head,
                header_bytes=guard_bytes(fence.last, gate.guarded),
                bytes_max=self._connection.max_payload,
                passed=damaged,
                epoch=fence.epoch,
            )
            delivery = Delivery(fence.last, subject, body)
            deliveries.append(delivery)
            await gate.deliver(delivery, f"repairing {actor_id!r}", deadline)
            if delivery.step is Passage.STORED:
                fence.pass_to(delivery.position, delivery.subject)
                return tuple(damaged)
            if delivery.other is not None and fence.follow(delivery.other) is None:
                self._warn(fence, delivery)
            if fence.closed:
                raise self._refusal(fence)

    async def _proven(self, fence: ShardFence, subject: str, actor_id: str, deadline: float) -> Message | None:
        """Return the actor's last message, from a replica that has all of the shard."""
        attempt = 0
        while True:
            latest, record, reached = await self._read(fence, subject, deadline)
            if fence.proves(record, reached):
                return latest
            if fence.closed:
                raise self._refusal(fence)
            attempt += 1
            await pause(attempt, deadline, f"reading {actor_id!r} up to position {fence.last}", self._log.timeout_s)


def _key(key: int, actor_id: str) -> str:
    return f"{key} {actor_id}"
