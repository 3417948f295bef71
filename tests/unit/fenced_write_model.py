"""A model of all that can befall the writes of a shard's owners.

Several processes at once believe to own the shard, the network loses, delays and doubles, replicas lag. Each owner is a real
`ShardFence` with real `FencedWrite`s on real commits, and no lease: whoever was deposed does not know. Owners forget heads, and
list who is in the shard. A seed chooses what happens, so each run can be had again; the checks here say what must hold whatever
happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from aether import Event, NewEvent
from aether._native import Commit, Head, RosterBudget, encode_commit, encode_epoch, position_of
from aether.nats.messages import Message, Subjects
from aether.store.fence import Delivery, Passage, ShardFence
from aether.store.fenced_write import FencedStep, FencedWrite
from aether.store.guarded_write import AppendRequest, SaveRequest
from aether.store.rosters import is_whole

ACTORS = ("a", "b")
SHARD = 7
RECORDS = "aether.model.7.=epoch"
OWNERS_MAX = 3
TAKE_STEPS = 5
CALM_STEPS_MAX = 60
STEPS = 40
TROUBLES = ("request lost", "ack lost", "ack lost", "delayed", "delayed", "doubled", "refused in flight", "unheard")


def subject_of(actor: str) -> str:
    """The subject of an actor."""
    return f"aether.model.7.{actor}"


@dataclass
class Server:
    """The shard's messages; those of other shards only make the positions jump."""

    log: list[Message] = field(default_factory=list)
    is_guarded: bool = True

    @property
    def last(self) -> int:
        """Where the shard's last message lies."""
        return self.log[-1].position if self.log else 0

    def publish(self, subject: str, body: bytes, guard: int) -> int:
        """Store the message if the guard holds; return its position, 0 where it was refused."""
        if self.is_guarded and guard != self.last:
            return 0
        self.log.append(Message(self.last + 3, subject, body))
        return self.last

    def commits(self, actor: str) -> list[tuple[int, Commit]]:
        """An actor's commits."""
        return [(message.position, Commit.decode(message.body)) for message in self.log if message.subject == subject_of(actor)]


@dataclass(eq=False)
class Owner:
    """A process that has taken the shard, and what it remembers."""

    name: str
    fence: ShardFence
    heads: dict[tuple[object, str], Head] = field(default_factory=dict)
    write: FencedWrite | None = None
    ids: frozenset[str] = frozenset()
    again: bool = False
    """Another call had this event before, and may have stored it."""
    version_read: int = 0
    listing: tuple[ShardFence, int, int] | None = None
    """A roster that was begun: of which fence, its serial number, and what an answer must hold."""


class FencedWriteModel:
    """Owners of one shard against one log; the classes are what a planted bug replaces.

    Args:
        seed: chooses all that happens.
    """

    write_class: type[FencedWrite] = FencedWrite
    fence_class: type[ShardFence] = ShardFence
    delivery_class: type[Delivery] = Delivery
    is_guarded = True
    is_proven = staticmethod(is_whole)
    is_begun_late = False

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.server = Server(is_guarded=self.is_guarded)
        self.owners: list[Owner] = []
        self.late: list[tuple[str, bytes, int]] = []
        self.never: list[frozenset[str]] = []
        self.unknown: list[Event] = []
        self.count = 0
        self.budget = RosterBudget(2**20)
        self.trouble = self.random.choice((0.0, 0.1, 0.3, 0.6))

    def run(self) -> None:
        """Let things happen, and end in a calm."""
        what = [self.take, self.take_again, self.append, self.append, self.save, self.save_again]
        what += [self.go_on, self.go_on, self.go_on, self.deliver_late, self.time_out]
        what += [self.forget_heads, self.begin_roster, self.fill_roster]
        for _ in range(STEPS):
            self.random.choice(what)()
            self.check()
        self.calm()

    def _outcome(self) -> str:
        return self.random.choice(TROUBLES) if self.random.random() < self.trouble else "answered"

    def _lag(self) -> int:
        return self.random.choice((0, 0, 0, 1, 2, 3))

    def _owner(self, *, busy: bool) -> Owner | None:
        fitting = [owner for owner in self.owners if (owner.write is not None) == busy]
        return self.random.choice(fitting) if fitting else None

    # Who takes it.

    def take(self) -> None:
        """A new process takes the shard, or fails to; whoever had it goes on."""
        if len(self.owners) < OWNERS_MAX:
            self.count += 1
            fence = self._taken(f"node-{self.count}")
            if fence is not None:
                self.owners.append(Owner(f"node-{self.count}", fence))

    def take_again(self) -> None:
        """A process that has no write on its way takes the shard again, and keeps its memory."""
        owner = self._owner(busy=False)
        if owner is not None:
            owner.fence.close()
            fence = self._taken(owner.name)
            if fence is None:
                self.owners.remove(owner)
            else:
                owner.fence = fence

    def _taken(self, name: str) -> ShardFence | None:
        prefix = self._prefix(self._lag())
        body = encode_epoch(name, 1)
        delivery = self.delivery_class(prefix[-1].position if prefix else 0, RECORDS, body)
        for _ in range(TAKE_STEPS):
            if delivery.step is Passage.SEND:
                self._send(delivery, self._outcome())
            elif delivery.step is Passage.LOOK_BEHIND:
                self._look(delivery, 0)
        if delivery.step is not Passage.STORED:
            return None
        fence = self.fence_class(SHARD, delivery.position, RECORDS, lambda: True)
        fence.is_open = True
        return fence

    def _prefix(self, lag: int) -> list[Message]:
        return self.server.log[: max(0, len(self.server.log) - lag)]

    # What they begin with.

    def _begin(self, owner: Owner, request: SaveRequest | AppendRequest, ids: frozenset[str], *, again: bool = False) -> None:
        head = owner.heads.get((owner.fence.key, request.actor_id))
        if head is None and owner.fence.mark.is_new(request.actor_id):
            head = Head()
        owner.write = self.write_class(request, owner.fence, head)
        owner.ids, owner.again = ids, again
        self._judge(owner)

    def _fresh_id(self) -> str:
        self.count += 1
        return f"event-{self.count}"

    def append(self) -> None:
        """Begin an append."""
        owner = self._owner(busy=False)
        if owner is not None:
            new = NewEvent("t", 1, id=self._fresh_id())
            expected = self.random.choice((None, None, None, 0, 1, 2))
            self._begin(owner, AppendRequest(self.random.choice(ACTORS), [new], expected), frozenset([new.id]))

    def save(self) -> None:
        """Begin to save an event at the latest version (a conflict) or above."""
        owner = self._owner(busy=False)
        if owner is not None:
            actor = self.random.choice(ACTORS)
            commits = self.server.commits(actor)
            version = max(1, (commits[-1][1].version if commits else 0) + self.random.randint(0, 2))
            event = Event(actor, "t", version, 1, id=self._fresh_id())
            self._begin(owner, SaveRequest([event]), frozenset([event.id]))

    def save_again(self) -> None:
        """Save an event again that is stored, or whose outcome is unknown."""
        stored = [event for actor in ACTORS for _, commit in self.server.commits(actor) for event in commit.events()]
        owner = self._owner(busy=False)
        if owner is not None and stored + self.unknown:
            event = self.random.choice(stored + self.unknown)
            self._begin(owner, SaveRequest([event]), frozenset([event.id]), again=True)

    # What they know.

    def forget_heads(self) -> None:
        """A memory that is too small drops what it had."""
        if self.owners:
            self.random.choice(self.owners).heads.clear()

    def begin_roster(self) -> None:
        """An owner asks who is in the shard, whatever it is writing."""
        fitting = [owner for owner in self.owners if owner.listing is None and not owner.fence.mark.has_roster]
        if fitting:
            owner = self.random.choice(fitting)
            owner.listing = (owner.fence, owner.fence.mark.begin_roster(self.budget), owner.fence.last)

    def fill_roster(self) -> None:
        """It gets an answer, of a server that may lag; one that proves nothing ends it."""
        fitting = [owner for owner in self.owners if owner.listing is not None]
        if not fitting:
            return
        owner = self.random.choice(fitting)
        (fence, serial, through), owner.listing = owner.listing or (owner.fence, 0, 0), None
        prefix = self._prefix(self._lag())
        found = Subjects([*{message.subject for message in prefix}], prefix[-1].position if prefix else 0, is_all=True)
        if self.is_begun_late:
            serial = fence.mark.begin_roster(self.budget)
        if not self.is_proven(found, fence, through) or not fence.mark.fill_roster(serial, found.names):
            fence.mark.end_roster(serial)

    # What happens to them.

    def go_on(self) -> None:
        """Let one owner's write take its next steps; a read may be answered by a replica that lags."""
        owner = self._owner(busy=True)
        if owner is not None:
            for _ in range(self.random.randint(1, 8)):
                self._step(owner, self._outcome(), self._lag())

    def deliver_late(self) -> None:
        """Deliver a copy that the network had kept."""
        if self.late:
            self.server.publish(*self.late.pop(self.random.randrange(len(self.late))))

    def time_out(self) -> None:
        """End a call by its deadline: in doubt it is unknown, else it must be true that nothing is and will be stored."""
        owner = self._owner(busy=True)
        if owner is not None and owner.write is not None:
            write, owner.write = owner.write, None
            if write.in_doubt:
                if isinstance(write.request, SaveRequest):
                    self.unknown.append(write.request.events[0])
            elif not owner.again:
                self._is_never_stored(owner.ids)

    def _step(self, owner: Owner, outcome: str, lag: int) -> None:
        write, actor = owner.write, "" if owner.write is None else owner.write.request.actor_id
        if write is None:
            return
        if write.delivery is not None and write.delivery.step in (Passage.SEND, Passage.LOOK_BEHIND):
            if write.delivery.step is Passage.SEND:
                self._send(write.delivery, outcome)
            else:
                self._look(write.delivery, lag)
            if write.delivery.step in (Passage.STORED, Passage.BEATEN):
                write.on_delivered()
                if write.adopted is not None:
                    name, head = write.adopted
                    owner.heads[owner.fence.key, name] = head
        elif write.step is FencedStep.READ_HEAD:
            prefix = self._prefix(lag)
            newest = {message.subject: message for message in prefix}
            latest = newest.get(subject_of(actor))
            owner.version_read = Commit.decode(latest.body).version if latest else 0
            write.on_read(latest, newest.get(RECORDS), prefix[-1].position if prefix else 0)
        elif write.step is FencedStep.DELIVER:
            assert write.head is not None
            body = encode_commit(actor, write.events, write.head, header_bytes=0, bytes_max=10**6, epoch=owner.fence.epoch)
            write.deliver(subject_of(actor), body)
            assert write.delivery is not None
            write.delivery.__class__ = self.delivery_class
        elif write.step is FencedStep.FIND_STORED:
            assert write.latest is not None
            upto = [placed for placed in self.server.commits(actor) if placed[0] <= write.latest.position]
            assert isinstance(write.request, SaveRequest)
            write.on_stored(position_of(upto, write.request.events))
        self._judge(owner)

    def _send(self, delivery: Delivery, outcome: str) -> None:
        copy = (delivery.subject, delivery.body, delivery.guard)
        match outcome:
            case "answered" | "doubled":
                position = self.server.publish(*copy)
                if outcome == "doubled":
                    self.late.append(copy)
                if position:
                    delivery.on_ack(position)
                else:
                    delivery.on_refused()
                return
            case "refused in flight":
                delivery.on_refused()
                return
            case "unheard":
                delivery.on_unheard()
                return
            case "ack lost":
                self.server.publish(*copy)
            case "delayed":
                self.late.append(copy)
        delivery.on_unanswered()

    def _look(self, delivery: Delivery, lag: int) -> None:
        behind = (message for message in self._prefix(lag) if message.position > delivery.guard)
        delivery.on_behind(next(behind, None))

    # What must hold.

    def _judge(self, owner: Owner) -> None:
        write = owner.write
        if write is None or write.step not in (FencedStep.DONE, FencedStep.CONFLICT, FencedStep.DEPOSED):
            return
        actor, owner.write = write.request.actor_id, None
        if write.step is FencedStep.DONE:
            stored = self._positions(owner.ids)
            assert stored == [write.position], f"success at {write.position}, stored at {stored}"
        elif write.step is FencedStep.CONFLICT:
            assert write.actual == owner.version_read, "the version in the conflict is not the one that was read"
            if isinstance(write.request, SaveRequest):
                assert write.actual >= write.request.first, "the version was free"
            self._is_never_stored(owner.ids)
        elif not owner.again:
            self._is_never_stored(owner.ids)
        if write.head is not None and not owner.fence.closed:
            owner.heads[owner.fence.key, actor] = write.head
        if owner.fence.closed:
            self.owners.remove(owner)

    def _positions(self, ids: frozenset[str]) -> list[int]:
        commits = [placed for actor in ACTORS for placed in self.server.commits(actor)]
        return [position for position, commit in commits if ids & {event.id for event in commit.events()}]

    def _is_never_stored(self, ids: frozenset[str]) -> None:
        self.never.append(ids)
        self.what_was_called_not_stored_is_not_stored()

    def epochs_do_not_interleave(self) -> None:
        """Each commit names the newest epoch record before it."""
        epoch = 0
        for message in self.server.log:
            if message.subject == RECORDS:
                epoch = message.position
            else:
                assert Commit.decode(message.body).epoch == epoch, f"position {message.position} is of another epoch"

    def versions_increase_and_no_event_is_there_twice(self) -> None:
        """Whatever happens, each actor's log is a log."""
        for actor in ACTORS:
            version, seen = 0, set()
            for _, commit in self.server.commits(actor):
                for event in commit.events():
                    assert event.version > version, "versions do not increase"
                    assert event.id not in seen, f"{event.id} is stored twice"
                    version = event.version
                    seen.add(event.id)

    def what_was_called_not_stored_is_not_stored(self) -> None:
        """A conflict, a deposition, or a deadline without doubt, is for ever."""
        assert not any(self._positions(ids) for ids in self.never), "stored after all"

    def check(self) -> None:
        """All that must hold at any time."""
        self.epochs_do_not_interleave()
        self.versions_increase_and_no_event_is_there_twice()
        self.what_was_called_not_stored_is_not_stored()

    def calm(self) -> None:
        """Calm the network: late copies arrive, and every write ends in a few steps."""
        for copy in self.late:
            self.server.publish(*copy)
        for owner in [*self.owners]:
            for _ in range(CALM_STEPS_MAX):
                self._step(owner, "answered", 0)
            assert owner.write is None, f"no end in {CALM_STEPS_MAX} calm steps"
        self.check()
