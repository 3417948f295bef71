"""A model of everything that can befall a guarded write: a log, a network that loses, delays and doubles, leaders that lag.

Several writers of one actor run in it at once, each a real `GuardedWrite` on real commits. hypothesis chooses what happens;
the checks here say what must hold whatever happens.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aether import Event, NewEvent
from aether._native import Commit, encode_commit, position_of
from aether.nats.messages import Message
from aether.store.guarded_write import AppendRequest, GuardedWrite, SaveRequest, Step

ACTOR = "a"
SUBJECT = "aether.model.1.a"
WRITERS_MAX = 3
CALM_STEPS_MAX = 40
SEND_OUTCOMES = (
    "answered",
    "request lost",
    "ack lost",
    "delayed",
    "doubled",
    "doubled and the second answered",
    "refused in flight",
    "unheard",
)


@dataclass
class Server:
    """One actor's log as the server keeps it; other actors' messages only make the positions jump."""

    log: list[Message] = field(default_factory=list)
    last_position: int = 0

    @property
    def guard(self) -> int:
        """Where the actor's last message lies."""
        return self.log[-1].position if self.log else 0

    def publish(self, body: bytes, guard: int) -> int:
        """Store the body if the guard holds; return its position, 0 where it was refused."""
        if guard != self.guard:
            return 0
        self.last_position += 3
        self.log.append(Message(self.last_position, SUBJECT, body))
        return self.last_position

    def commits(self) -> list[tuple[int, Commit]]:
        """The log, decoded."""
        return [(message.position, Commit.decode(message.body)) for message in self.log]


@dataclass(eq=False)
class Writer:
    """One call in flight, and what the model knows of it that the call does not."""

    write: GuardedWrite
    ids: frozenset[str]
    open: set[bytes] = field(default_factory=set)
    """The bytes of which a copy went out that was not acked."""
    read_version: int = 0
    again: bool = False
    """Another call had this event before, and may have stored it."""


class GuardedWriteModel(RuleBasedStateMachine):
    """Writers of one actor against one log; `write_class` is what a planted bug replaces."""

    write_class: type[GuardedWrite] = GuardedWrite

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.writers: list[Writer] = []
        self.late: list[tuple[bytes, int]] = []
        self.never: list[frozenset[str]] = []
        self.unknown: list[Event] = []
        self.count = 0

    # What writers begin with.

    def _begin(self, request: SaveRequest | AppendRequest, ids: frozenset[str], known: int) -> None:
        prefix = self.server.log[: known % (len(self.server.log) + 1)]
        head = Commit.decode(prefix[-1].body).head(prefix[-1].position) if prefix else None
        self.writers.append(Writer(self.write_class(request, head), ids))

    def _fresh_id(self) -> str:
        self.count += 1
        return f"event-{self.count}"

    @rule(expected=st.sampled_from([None, None, None, 0, 1, 2]), known=st.integers(0, 5))
    def append(self, expected: int | None, known: int) -> None:
        """Begin an append."""
        if len(self.writers) < WRITERS_MAX:
            new = NewEvent("t", 1, id=self._fresh_id())
            self._begin(AppendRequest(ACTOR, [new], expected), frozenset([new.id]), known)

    @rule(above=st.integers(0, 2), count=st.integers(1, 2), known=st.integers(0, 5))
    def save(self, above: int, count: int, known: int) -> None:
        """Begin to save events at the latest version (a conflict) or above."""
        if len(self.writers) < WRITERS_MAX:
            latest = Commit.decode(self.server.log[-1].body).version if self.server.log else 0
            first = max(1, latest + above)
            events = [Event(ACTOR, "t", first + index, 1, id=self._fresh_id()) for index in range(count)]
            self._begin(SaveRequest(events), frozenset(event.id for event in events), known)

    @rule(data=st.data(), known=st.integers(0, 5))
    def save_again(self, data: st.DataObject, known: int) -> None:
        """Save an event again that is stored, or whose outcome is unknown."""
        stored = [event for _, commit in self.server.commits() for event in commit.events()]
        if len(self.writers) < WRITERS_MAX and stored + self.unknown:
            event = data.draw(st.sampled_from(stored + self.unknown))
            self._begin(SaveRequest([event]), frozenset([event.id]), known)
            self.writers[-1].again = True

    # What happens to them.

    @rule(data=st.data(), steps=st.lists(st.tuples(st.sampled_from(SEND_OUTCOMES), st.integers(0, 2)), min_size=1, max_size=4))
    def go_on(self, data: st.DataObject, steps: list[tuple[str, int]]) -> None:
        """Let one writer take its next steps; a read may be answered by a leader that lags."""
        if self.writers:
            writer = data.draw(st.sampled_from(self.writers))
            for outcome, lag in steps:
                if writer in self.writers:
                    self._step(writer, outcome, lag)

    @rule(data=st.data())
    def deliver_late(self, data: st.DataObject) -> None:
        """Deliver a copy that the network had kept."""
        if self.late:
            body, guard = self.late.pop(data.draw(st.integers(0, len(self.late) - 1)))
            self.server.publish(body, guard)

    @rule(data=st.data())
    def time_out(self, data: st.DataObject) -> None:
        """End a call by its deadline: in doubt it is unknown, else it must be true that nothing is and will be stored."""
        if self.writers:
            writer = data.draw(st.sampled_from(self.writers))
            self.writers.remove(writer)
            if writer.write.in_doubt:
                if isinstance(writer.write.request, SaveRequest) and len(writer.ids) == 1:
                    self.unknown.append(writer.write.request.events[0])
            elif not writer.again:
                self._is_never_stored(writer.ids)

    def _step(self, writer: Writer, outcome: str, lag: int) -> None:
        write = writer.write
        prefix = self.server.log[: max(0, len(self.server.log) - lag)]
        match write.step:
            case Step.SEND:
                self._send(writer, outcome)
            case Step.READ_HEAD:
                writer.read_version = Commit.decode(prefix[-1].body).version if prefix else 0
                write.on_head(prefix[-1] if prefix else None)
            case Step.LOOK_BEHIND:
                assert write.head is not None
                guard = write.head.sequence
                write.on_behind(next((message for message in prefix if message.position > guard), None))
            case Step.FIND_STORED:
                assert write.latest is not None
                upto = [placed for placed in self.server.commits() if placed[0] <= write.latest.position]
                write.on_stored(position_of(upto, write.request.events))
        self.doubt_has_a_reason()
        self._judge(writer)

    def _send(self, writer: Writer, outcome: str) -> None:
        write = writer.write
        head = write.head
        assert head is not None
        if not write.body:
            write.since = self.server.last_position
            write.body = encode_commit(ACTOR, write.events, head, header_bytes=0, bytes_max=10**6)
        copy = (write.body, head.sequence)
        match outcome:
            case "answered" | "doubled" | "doubled and the second answered":
                position = self.server.publish(*copy)
                if outcome == "doubled and the second answered":
                    position = self.server.publish(*copy)
                elif outcome == "doubled":
                    self.late.append(copy)
                if position:
                    write.on_ack(position)
                else:
                    writer.open.add(write.body)
                    write.on_refused()
                return
            case "refused in flight":
                writer.open.add(write.body)
                write.on_refused()
                return
            case "unheard":
                write.on_unheard()
                return
            case "ack lost":
                self.server.publish(*copy)
            case "delayed":
                self.late.append(copy)
        writer.open.add(write.body)
        write.on_unanswered()

    # What must hold.

    def _judge(self, writer: Writer) -> None:
        write = writer.write
        if write.step is Step.DONE:
            stored = self._positions(writer.ids)
            assert stored == [write.position], f"success at {write.position}, stored at {stored}"
            self.writers.remove(writer)
        elif write.step is Step.CONFLICT:
            request = write.request
            assert write.actual == writer.read_version, "the version in the conflict is not the one that was read"
            if isinstance(request, SaveRequest):
                assert write.actual >= request.first, "the version was free"
            else:
                assert request.expected_version not in (None, write.actual), "the version was the expected one"
            self._is_never_stored(writer.ids)
            self.writers.remove(writer)

    def _positions(self, ids: frozenset[str]) -> list[int]:
        return [position for position, commit in self.server.commits() if ids & {event.id for event in commit.events()}]

    def _is_never_stored(self, ids: frozenset[str]) -> None:
        self.never.append(ids)
        self.what_was_called_not_stored_is_not_stored()

    @invariant()
    def versions_increase_and_no_event_is_there_twice(self) -> None:
        """Whatever happens, the log is a log."""
        version, seen = 0, set()
        for _, commit in self.server.commits():
            for event in commit.events():
                assert event.version > version, "versions do not increase"
                assert event.id not in seen, f"{event.id} is stored twice"
                version = event.version
                seen.add(event.id)

    @invariant()
    def what_was_called_not_stored_is_not_stored(self) -> None:
        """A conflict, or a deadline without doubt, is for ever."""
        assert not any(self._positions(ids) for ids in self.never), "stored after all"

    @invariant()
    def doubt_has_a_reason(self) -> None:
        """Who is in doubt has sent these very bytes, and no copy of them was acked."""
        for writer in self.writers:
            assert not writer.write.in_doubt or writer.write.body in writer.open, "in doubt, though nothing is open"

    def teardown(self) -> None:
        """Calm the network: late copies arrive, and every writer ends in a few steps."""
        for body, guard in self.late:
            self.server.publish(body, guard)
        self.versions_increase_and_no_event_is_there_twice()
        self.what_was_called_not_stored_is_not_stored()
        for writer in list(self.writers):
            for _ in range(CALM_STEPS_MAX):
                if writer in self.writers:
                    self._step(writer, "answered", lag=0)
            assert writer not in self.writers, f"no end in {CALM_STEPS_MAX} calm steps"
        self.versions_increase_and_no_event_is_there_twice()
