"""What a guarded write does next, as a pure state machine: no clock, no network, so every course can be tested.

A commit goes out under a guard: "the actor's last message is at this position". An ack ends it. All else leaves it *in doubt*:
silence, because the copy may be stored, lost, or on its way; and a refusal, because the guard may have been moved by a copy of
our own, sent twice by us or doubled by the network, or (on several replicas) because any write to the actor is in flight. Only
when nobody listened nothing has changed. The log resolves the doubt:

- The head is where the guard points: the write is still open. The same bytes go out again under the same guard; whichever of
  the copies comes first, the others are refused.
- The head moved: it is final. The head, or else the first message behind the guard, is ours byte for byte, or ours can never
  be stored. A refused write whose head lies no further than the stream reached before it was sent need not look: ours would
  lie behind that.

A head in front of one that is known can only come from a leader that was deposed or has just begun: it is read again.

The idea is that of TigerBeetle's and etcd's clients: retries are safe because the log itself tells copies apart.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

from aether._native import Commit, Event, Head, NewEvent, check_events, number_events
from aether.errors import DecodeError, VersionsUsedUpError
from aether.store.arguments import VERSION_MAX

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aether.nats.messages import Message

__all__ = ["AppendRequest", "GuardedWrite", "SaveRequest", "Step", "WriteRequest"]


class Step(Enum):
    """What the driver of a write does next."""

    READ_HEAD = auto()
    """Read the actor's last message from the leader, then call `on_head`."""
    SEND = auto()
    """Publish `events` under the guard `head.sequence`, then call the `on_…` for what came back."""
    LOOK_BEHIND = auto()
    """Read the first message behind the guard from the leader, then call `on_behind`."""
    FIND_STORED = auto()
    """Look whether the very same events are stored already, then call `on_stored`."""
    DONE = auto()
    """Stored, up to `version`, at `position`."""
    CONFLICT = auto()
    """Not stored: the actor is at `actual`, the request counted on `request.expected`."""


class WriteRequest(Protocol):
    """What a caller wants written."""

    actor_id: str

    @property
    def expected(self) -> int:
        """The latest version that the request counts on, for the error."""
        ...

    @property
    def may_be_new(self) -> bool:
        """Whether it is worth guessing that the actor has no commit yet."""
        ...

    def plan(self, version: int) -> list[Event] | None:
        """Return the events to write on top of `version`; None: they cannot go there."""
        ...

    def may_be_stored(self, version: int) -> bool:
        """Whether an actor at `version` may hold these very events already."""
        ...


class SaveRequest:
    """Events with versions of their own.

    Raises:
        ValueError: no events, of several actors, or versions that do not increase.
    """

    def __init__(self, events: Sequence[Event]) -> None:
        self.actor_id, self.first, self.last = check_events(events)
        self.events = list(events)

    @property
    def expected(self) -> int:
        """The version before the first event."""
        return self.first - 1

    @property
    def may_be_new(self) -> bool:
        """Only an event of version 1 is likely to be the first."""
        return self.first == 1

    def plan(self, version: int) -> list[Event] | None:
        """Return the events if all of them lie above `version`."""
        return self.events if self.first > version else None

    def may_be_stored(self, version: int) -> bool:
        """Saving again what is stored is no conflict."""
        return self.last <= version


class AppendRequest:
    """New events, numbered from the latest version on."""

    def __init__(self, actor_id: str, events: NewEvent | Sequence[NewEvent], expected_version: int | None) -> None:
        self.actor_id = actor_id
        self.events = [events] if isinstance(events, NewEvent) else list(events)
        if not self.events:
            raise ValueError("a commit has at least one event")
        self.expected_version = expected_version
        number_events(actor_id, self.events, 1)  # says what is wrong with them before anything is sent

    @property
    def expected(self) -> int:
        """The version that was asked for."""
        return self.expected_version or 0

    @property
    def may_be_new(self) -> bool:
        """A guess that fails costs one refused write; one that holds saves a read."""
        return not self.expected_version

    def plan(self, version: int) -> list[Event] | None:
        """Return the events numbered from `version` + 1 on, if the latest version is the expected one."""
        if self.expected_version not in (None, version):
            return None
        if len(self.events) > VERSION_MAX - version:
            raise VersionsUsedUpError(self.actor_id)
        return number_events(self.actor_id, self.events, version + 1)

    def may_be_stored(self, version: int) -> bool:  # noqa: ARG002 - of the protocol
        """An append knows no earlier ids: it is always a new one."""
        return False


class GuardedWrite:
    """The course of one write.

    Args:
        request: what to write.
        head: what the caller remembers of the actor, or None. It may be out of date; the guard will tell.

    Attributes:
        step: what to do next.
        head: the head that the events go on top of; once DONE, the one they made.
        latest: the actor's last message, as last read.
        events: what to send.
        body: the bytes to send, set by the driver; the same for every copy.
        since: how far the stream was known to reach before `body` was sent, set by the driver.
        in_doubt: a copy was sent, and the log has not told yet what became of it.
        repeats: how often the same thing had to be done again, so that the driver waits a little before the next step.
        version, position: what was stored and where, once DONE.
        found: once DONE, the very same events were there, though every copy of this write was refused or none was sent.
        actual: the version really there, on CONFLICT.
    """

    def __init__(self, request: WriteRequest, head: Head | None) -> None:
        self.request = request
        self.head = head if head is not None or not request.may_be_new else Head()
        self.events: list[Event] = []
        self.body = b""
        self.since = 0
        self.in_doubt = self.found = False
        self.repeats = 0
        self.version = self.position = self.actual = 0
        self.latest: Message | None = None
        self._fresh = False
        self._silent = False
        self._refused = False
        self.step = self._decide()

    def _decide(self) -> Step:
        if self.head is None:
            return Step.READ_HEAD
        events = self.request.plan(self.head.version)
        if events is not None:
            self.events, self.body, self._silent = events, b"", False
            return Step.SEND
        if not self._fresh:
            return Step.READ_HEAD
        self.actual = self.head.version
        return Step.FIND_STORED if self.request.may_be_stored(self.actual) else Step.CONFLICT

    def _stored(self, position: int) -> None:
        self.found = self.in_doubt and not self._silent
        self.version, self.position, self.in_doubt = self.events[-1].version, position, False
        if self.head is not None:
            self.head = self.head.after(self.version, position)
        self.step = Step.DONE

    def on_ack(self, position: int) -> None:
        """Take the position at which the server stored it."""
        self.in_doubt = False
        self._stored(position)

    def on_refused(self) -> None:
        """Take a refusal: the guard did not hold, or another write was in flight; only the log tells which."""
        # One refusal tells a guess from the truth at no delay; who is refused again stands in a crowd and steps aside.
        self.repeats += self._refused
        self.in_doubt = self._refused = True
        self.step = Step.READ_HEAD

    def on_unheard(self) -> None:
        """Take it that nobody listened: nothing changed, and the same can be tried again."""
        self.repeats += 1
        self.step = Step.READ_HEAD if self.in_doubt else Step.SEND

    def on_unanswered(self) -> None:
        """Take it that it was sent and no answer came."""
        self.in_doubt = self._silent = True
        self.step = Step.READ_HEAD

    def on_head(self, latest: Message | None) -> None:
        """Take the actor's last message.

        Raises:
            DecodeError: it is no commit; the driver says where.
        """
        position = latest.position if latest is not None else 0
        known = self.head.sequence if self.head is not None else 0
        if position < known or (self.in_doubt and position == known):
            # Behind what is known, or where the guard points; a copy that nobody acked is sent again either way.
            self.repeats += 1
            self.step = Step.SEND if self.in_doubt else Step.READ_HEAD
            return
        self.latest = latest
        if self.in_doubt and latest is not None and latest.body == self.body:
            self._stored(position)
        elif self.in_doubt and (self._silent or position > self.since):
            self.step = Step.LOOK_BEHIND
        else:
            self._adopt()

    def on_behind(self, message: Message | None) -> None:
        """Take the first message behind the guard, once the head has moved.

        Raises:
            DecodeError: the head is no commit; the driver says where.
        """
        if message is None:
            self.repeats += 1
            self.step = Step.READ_HEAD  # a leader that does not know of the move yet
        elif message.body == self.body:
            self._stored(message.position)
        else:
            self._adopt()

    def _adopt(self) -> None:
        """Judge again, on top of the head as the leader has it; what was sent can never be stored."""
        self.in_doubt = False
        if self.latest is None:
            self.head = Head()
        else:
            commit = Commit.decode(self.latest.body)
            if commit.actor_id != self.request.actor_id:
                raise DecodeError(-1, f"it is a commit of the actor {commit.actor_id!r}")
            self.head = commit.head(self.latest.position)
        self._fresh = True
        self.step = self._decide()

    def on_stored(self, position: int | None) -> None:
        """Take the position of the very same events, or None: they are not there."""
        if position is None:
            self.step = Step.CONFLICT
        else:
            self.version, self.position, self.step, self.found = self.actual, position, Step.DONE, True
