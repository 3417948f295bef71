"""What a pipeline under fences does beside sending: commits that were not plainly acked, and heads with their proof.

Heads of many actors are read at once, each shard's epoch record in the same answer. While that is under way the shards are free,
so others, or this pipeline, may write to them. A head that was read counts nevertheless, as `FencedWriter` would have it, because

- the answer holds everything up to the shard's last position as it was when the question went out (`ShardFence.proves`), and
- whatever was written to the shard since, under this fence, is remembered under the fence's key, and a head that is remembered
  already is not replaced by an older one; unless the memory had to drop something meanwhile, and then the answer counts only if
  it reaches what is the last position now. What was not written by us breaks the guard.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from aether._native import Commit, Head, actor_subject, shard_of
from aether.errors import AetherError, DeadlineError, DecodeError, OutcomeUnknownError
from aether.nats.errors import CONFLICT
from aether.nats.pauses import pause
from aether.nats.subjects import SHARDS
from aether.store.doubts import Ending
from aether.store.fence import Delivery, Passage
from aether.store.troubles import READS_AT_ONCE, Troubles

if TYPE_CHECKING:
    from aether.nats.messages import Message, Newest
    from aether.store.doubts import Doubt
    from aether.store.fence import ShardFence
    from aether.store.fenced_writer import FencedWriter
    from aether.store.shard_loans import ShardLoans

__all__ = ["FencedTroubles"]

PROOFS_MAX = 4
"""How often heads are asked for together; what is not proven then is read by itself, in its shard's turn."""

QUESTION_BYTES_MAX = 32_768
"""Of the subjects in one question: far below what any server takes."""


class _Seen(NamedTuple):
    """A shard as it was when heads of it were asked for."""

    fence: ShardFence
    key: int
    last: int

    def is_proven(self, newest: Newest, *, forgetful: bool) -> bool:
        """Say whether heads of this answer may be written on; `forgetful`: something remembered was dropped meanwhile."""
        through = self.fence.last if forgetful else self.last
        record = newest.messages.get(self.fence.epoch_subject)
        return self.fence.proves(record, newest.reached, through) and self.fence.key == self.key


class FencedTroubles(Troubles):
    """As `Troubles`, under the fences of shards.

    Args:
        arguments: those of `Troubles`.
        owner: the shards' writer.
        loans: the turns that the pipeline holds.
    """

    # A shard's line stands still while a commit of it is in trouble, so there is at most one of each.
    _at_once = SHARDS
    _reads_at_once = 4

    def __init__(self, *arguments: Any, owner: FencedWriter, loans: ShardLoans, **options: Any) -> None:  # noqa: ANN401
        super().__init__(*arguments, **options)
        self._owner, self._loans = owner, loans

    def look(self) -> None:
        """Begin with what there is to do, and give back what is not needed, or not used though others want it."""
        self._pending.let_go_unsent()
        self._loans.give_back()
        super().look()

    # Commits in doubt.

    def _settle(self, doubt: Doubt) -> None:
        self._log.reached = max(self._log.reached, self._pending.reached)
        self._spawn(self._resolve(doubt), partial(self._account, doubt))

    async def _resolve(self, doubt: Doubt) -> Ending | None:
        """Find out what became of a commit; None: it is stored, and accounted for."""
        shard = shard_of(doubt.actor_id)
        try:
            fence, copy = self._loans.fence(shard), self._pending.copy(doubt.ticket)
            if fence is not None and copy is not None:
                delivery = _delivery(doubt, *copy)
                error = await self._deliver(fence, delivery, doubt)
                if delivery.step is Passage.STORED:
                    self._pending.found_at(doubt.ticket, delivery.position)
                    return None
                if delivery.in_doubt:
                    return self._unknown(doubt, error)
                # None of it is stored, nor can come to be: it is judged as one that nobody has heard of yet.
                doubt = doubt._replace(why="unheard", number=0)
        finally:
            self._loans.take_back(shard)
        return await self._doubts.settle(doubt, self._connection.max_payload)

    async def _deliver(self, fence: ShardFence, delivery: Delivery, doubt: Doubt) -> AetherError | None:
        try:
            await self._owner.resolve(fence, delivery, doubt.deadline)
        except AetherError as error:
            return error
        return None

    def _unknown(self, doubt: Doubt, cause: AetherError | None) -> Ending:
        ending = Ending()
        ending.error = OutcomeUnknownError(doubt.actor_id, self._log.timeout_s)
        ending.error.__cause__ = cause
        ending.unstored("unknown", ending.error, len(doubt.events))
        return ending

    # Heads.

    async def _read_heads(self, actors: dict[str, int], deadline: float) -> None:
        """Read the heads of these actors with their proof; where known ids are skipped, their events too, from these versions."""
        try:
            await self._owner.rosters.list_due({fence for fence in map(self._fence, actors) if fence is not None})
            for attempt in range(1, PROOFS_MAX + 1):
                self._tell_new(actors)
                await asyncio.gather(*(self._prove(names, actors, deadline) for names in self._questions(actors)))
                if not actors:
                    return
                if attempt < PROOFS_MAX:
                    await pause(attempt, deadline, "reading heads of actors", self._log.timeout_s)
        except AetherError as error:
            if not isinstance(error, DeadlineError):
                for name in actors:
                    self._doubts.unread[name] = error
        finally:
            for name in actors:
                self._pending.found(name, None)  # each by itself: it is damaged, or cannot be read now

    def _fence(self, name: str) -> ShardFence | None:
        return self._owner.fence(shard_of(name))

    def _tell_new(self, actors: dict[str, int]) -> None:
        """Take out of `actors` those of whom their shards' rosters tell that they are new."""
        for name in [*actors]:
            fence = self._fence(name)
            if fence is not None and fence.mark.is_new(name):
                self._tell(actors, name, Head())

    def _questions(self, actors: dict[str, int]) -> list[dict[str, str]]:
        """Return the actors with their subjects, in parts that one question takes."""
        parts: list[dict[str, str]] = [{}] if actors else []
        size = 0
        for name in actors:
            subject = actor_subject(self._namespace, name)
            size += 2 * len(subject)  # its shard's record may be asked for too
            if parts[-1] and size > QUESTION_BYTES_MAX:
                parts.append({})
                size = 2 * len(subject)
            parts[-1][name] = subject
        return parts

    async def _prove(self, subjects: dict[str, str], actors: dict[str, int], deadline: float) -> None:
        """Ask for heads once, and take out of `actors` those that are proven, or that nobody needs to ask for again."""
        seen, dropped = self._see(subjects), self._owner.exact.dropped
        for name in subjects.keys() - seen.keys():
            self._tell(actors, name, Head())  # nobody may write there now: who wants the shard is told so
        if not seen:
            return
        records = {each.fence.epoch_subject for each in seen.values()}
        newest = await self._log.newest([*(subjects[name] for name in seen), *records], deadline)
        absent = [name for name in seen if subjects[name] not in newest.messages]
        # A server whose last message on a subject was damaged on its disk says the same as for a subject that never was.
        firsts = dict(zip(absent, await self._log.next_each([subjects[name] for name in absent], 1, deadline), strict=True))
        stored: dict[str, Message] = {}
        for name, each in seen.items():
            message = newest.messages.get(subjects[name])
            # Asked anew for each: keeping the head before may have dropped another.
            forgetful = self._owner.exact.dropped != dropped
            if each.is_proven(newest, forgetful=forgetful) and firsts.get(name) is None:
                head = Head() if message is None else _head(name, message)
                each.fence.absent += message is None
                if head is not None:
                    self._owner.remember(each.key, name, head)
                if message is not None and head is not None and self._skip_known:
                    stored[name] = message
                else:
                    self._tell(actors, name, head)
            elif each.fence.closed:
                self._tell(actors, name, Head())
        await self._learn_all(stored, actors)
        self._moved(None)

    def _see(self, subjects: dict[str, str]) -> dict[str, _Seen]:
        """Return how the shards of these actors stand now, where they are ours."""
        fences = ((name, self._fence(name)) for name in subjects)
        return {name: _Seen(fence, fence.key, fence.last) for name, fence in fences if fence is not None}

    async def _learn_all(self, stored: dict[str, Message], actors: dict[str, int]) -> None:
        learning = {name: actors.pop(name) for name in stored}
        slots = asyncio.Semaphore(READS_AT_ONCE)
        try:
            await asyncio.gather(*(self._learn(learning, name, message, slots) for name, message in stored.items()))
        finally:
            for name in learning:
                self._pending.found(name, None)

    def _tell(self, actors: dict[str, int], name: str, head: Head | None) -> None:
        del actors[name]
        self._pending.found(name, head)


def _delivery(doubt: Doubt, subject: str, guard: int, body: bytes) -> Delivery:
    """Return how far the delivery of a commit in doubt has come."""
    delivery = Delivery(guard, subject, body)
    match doubt.why:
        case "silent":
            delivery.on_unanswered()
        case "refused" if doubt.number in CONFLICT:
            delivery.on_refused()
        case "refused" if doubt.number == 0:
            delivery.on_unanswered()  # neither an ack nor an error
        case _:
            delivery.on_unheard()  # the server says that it did not store it
    return delivery


def _head(name: str, message: Message) -> Head | None:
    """Return the head that an actor's last message makes; None: it is damaged, and the writer will say where."""
    try:
        commit = Commit.decode(message.body)
    except DecodeError:
        return None
    return commit.head(message.position) if commit.actor_id == name else None
