"""One actor in memory: its state, and the commands that brought it there. Pure: no network, no clock, no tasks.

A command id is remembered in the metadata of the events that it caused, so the memory is as durable as they are, and whoever
loads the actor has it too: that is what makes a command safe to send again to another owner. The reply to a command lies
beside its events, for the same reason. A command that caused no event left no trace; sent again, it is handled again.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import copy
import dataclasses
import inspect
import logging
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from aether._native import decode, encode, number_events
from aether.errors import DecodeError, EncodeError
from aether.event import NewEvent, Snapshot
from aether.payload import decode as decode_typed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aether.event import Event

__all__ = ["COMMAND_KEY", "REPLY_KEY", "Actor", "Behaviour", "Decision", "RefusedError", "reply_of"]

_LOG = logging.getLogger("aether.cluster")

COMMAND_KEY = "command_id"
"""Where an event's metadata names the command that it comes from."""

REPLY_KEY = "command_reply"
"""Where the metadata of a command's last event has the reply, msgpack in Base64; it is not there where the reply is None."""

REPLY_BYTES_MAX = 16_384
"""How large an encoded reply may be that is stored beside events, in bytes."""

SNAPSHOT_FORMAT = 1
NOTHING = encode(None)


class Behaviour(Protocol):
    """What an actor is, as pure functions; no base class is needed.

    Two more functions, `encode(state)` to plain data and `decode(plain)` back, make snapshots of any state; without them those
    of plain data, and of the type of `initial` where that is a msgspec Struct, a dataclass or a pydantic model.
    """

    @property
    def initial(self) -> Any:  # noqa: ANN401 - whatever the state is
        """The state before the first event."""
        ...

    def apply(self, state: Any, event: Event) -> Any:  # noqa: ANN401 - as above
        """Return the state after an event. It must not refuse an event that `handle` may return."""
        ...

    def handle(self, state: Any, command: Any) -> Any:  # noqa: ANN401 - as above
        """Decide what a command does: return a `NewEvent`, a list of them, or None; or a pair of these and a reply.

        What it raises goes to whoever asked, as `CommandFailedError`, and nothing is written.
        """
        ...


# An actor's functions do not wait, so no task is cancelled within them: such an error is their own.
OF_ITS_CODE = (Exception, asyncio.CancelledError)


class RefusedError(Exception):
    """A command that is not done, for a reason of the actor's own code. Internal to this package.

    Attributes:
        error: what was raised.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__(error)
        self.error = error


class UnfitSnapshotError(Exception):
    """A snapshot that this actor cannot begin from. Internal to this package."""


class Decision(NamedTuple):
    """What a command does.

    Attributes:
        events: what is to be stored; none: nothing changes.
        reply: the encoded reply.
    """

    events: list[Event]
    reply: bytes


class Actor:
    """One actor, from its first event to its version.

    Args:
        actor_id: which.
        behaviour: what it is.
        remembered_max: how many of its last commands are remembered.

    Raises:
        TypeError: `apply` or `handle` is a coroutine function.

    Attributes:
        state: its state.
        version: the version of the last event in it.
        commands: its last commands by id, oldest first, each with the version of its last event.
        is_ahead: the state holds events that are not known to be stored; it must be loaded anew, unless `accept` says they are.
    """

    __slots__ = ("_behaviour", "_remembered_max", "actor_id", "commands", "is_ahead", "state", "version")

    def __init__(self, actor_id: str, behaviour: Behaviour, remembered_max: int) -> None:
        self.actor_id = actor_id
        self._behaviour, self._remembered_max = behaviour, remembered_max
        for name in ("apply", "handle"):
            if inspect.iscoroutinefunction(getattr(behaviour, name, None)):
                kind = type(behaviour).__name__
                raise TypeError(
                    f"{name} of {kind} is a coroutine function; an actor decides and does not wait: make it a plain one"
                )
        # A copy, so that an `apply` that changes what it was given at least spoils no other actor.
        self.state = copy.deepcopy(behaviour.initial)
        self.version = 0
        self.commands: dict[str, int] = {}
        self.is_ahead = False

    def fold(self, events: Iterable[Event]) -> None:
        """Take stored events, in order.

        Raises:
            RefusedError: `apply` raised.
        """
        for event in events:
            self._apply(event)
            self.version = event.version
            if (command_id := event.command_id) is not None:
                self._remember(command_id, event.version)

    def _apply(self, event: Event) -> None:
        try:
            self.state = self._behaviour.apply(self.state, event)
        except OF_ITS_CODE as error:
            raise RefusedError(error) from error

    def _remember(self, command_id: str, version: int) -> None:
        self.commands[command_id] = version
        if len(self.commands) > self._remembered_max:
            del self.commands[next(iter(self.commands))]

    # Commands.

    def decide(self, command_id: str, command: object) -> Decision:
        """Say what a command does, and go to the state behind it; `accept` it once its events are stored.

        An event that `apply` does not take never gets as far as the store.

        Raises:
            RefusedError: the actor's code raised, or returned what cannot be stored.
        """
        try:
            drafts, reply = _split(self._behaviour.handle(self.state, command))
            payload = encode(reply)
            events = self._numbered(drafts, command_id, payload) if drafts else []
        except OF_ITS_CODE as error:
            raise RefusedError(error) from error
        for event in events:
            self.is_ahead = True
            self._apply(event)
        return Decision(events, payload)

    def _numbered(self, drafts: list[NewEvent], command_id: str, reply: bytes) -> list[Event]:
        if len(reply) > REPLY_BYTES_MAX:
            why = f"{len(reply):,} bytes, and {REPLY_BYTES_MAX:,} are stored beside events at most; put it into an event"
            raise EncodeError("reply", why)
        for draft in drafts:
            if COMMAND_KEY in (metadata := draft.metadata) or REPLY_KEY in metadata:
                raise ValueError(f"the metadata {COMMAND_KEY!r} and {REPLY_KEY!r} are the host's; leave them out")
        named = [draft.with_metadata({COMMAND_KEY: command_id}) for draft in drafts]
        if reply != NOTHING:
            named[-1] = named[-1].with_metadata({REPLY_KEY: base64.b64encode(reply).decode("ascii")})
        return number_events(self.actor_id, named, self.version + 1)

    def accept(self, decision: Decision, command_id: str) -> None:
        """Take it that a decision's events are stored."""
        self.is_ahead = False
        self.version = decision.events[-1].version
        self._remember(command_id, self.version)

    # Snapshots.

    def snapshot(self) -> Snapshot | None:
        """Return a snapshot of what is stored; None, once it was logged why, where the state would not come back the same.

        Raises:
            RefusedError: the actor's `encode` raised, or its state's comparison.
        """
        plain = self._encoded()
        try:
            payload = encode(plain)
            same = hasattr(self._behaviour, "decode") or bool(self._decoded(decode(payload)) == self.state)
            # Beside the commands even a state that fits may be too large, or too deep.
            snapshot = self._snapshot_of(plain) if same else None
        except (EncodeError, DecodeError) as error:
            _LOG.warning("no snapshot of %a: %s; give the behaviour encode() and decode()", self.actor_id, error)
            return None
        except OF_ITS_CODE as error:
            raise RefusedError(error) from error
        if snapshot is None:
            text = "no snapshot of %a: its state, a %s, does not come back the same; give the behaviour encode() and decode()"
            _LOG.warning(text, self.actor_id, type(self.state).__name__)
        return snapshot

    def _snapshot_of(self, plain: object) -> Snapshot:
        held = {
            "aether-actor": SNAPSHOT_FORMAT,
            "state": plain,
            "remembered": self._remembered_max,
            "commands": [[command_id, version] for command_id, version in self.commands.items()],
        }
        return Snapshot(self.actor_id, self.version, held)

    def _encoded(self) -> Any:  # noqa: ANN401 - plain data
        own = getattr(self._behaviour, "encode", None)
        if own is None:
            return self.state
        try:
            return own(self.state)
        except OF_ITS_CODE as error:
            raise RefusedError(error) from error

    def _decoded(self, plain: object) -> Any:  # noqa: ANN401 - whatever the state is
        own = getattr(self._behaviour, "decode", None)
        if own is not None:
            return own(plain)
        kind = type(self._behaviour.initial)
        if issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind) or hasattr(kind, "model_validate"):
            return decode_typed(encode(plain), kind)
        return plain

    def restore(self, snapshot: Snapshot) -> None:
        """Begin from a snapshot.

        Raises:
            UnfitSnapshotError: it is none of a host's, or holds too little; nothing was changed.
        """
        held = snapshot.state
        if not isinstance(held, dict) or held.get("aether-actor") != SNAPSHOT_FORMAT:
            raise UnfitSnapshotError("it is none that an actor host of this version took")
        try:
            commands = {str(command_id): int(version) for command_id, version in held["commands"]}
            if not all(0 < version <= snapshot.version for version in commands.values()):
                raise ValueError("it remembers commands of versions that it cannot hold")
            too_few = len(commands) >= int(held["remembered"]) < self._remembered_max
            state = self._decoded(held["state"])
        except OF_ITS_CODE as error:
            raise UnfitSnapshotError(f"{type(error).__name__}: {error}") from error
        if too_few:
            raise UnfitSnapshotError(f"it remembers {len(commands):,} commands, and {self._remembered_max:,} are wanted now")
        self.state, self.version = state, snapshot.version
        self.commands = dict([*commands.items()][-self._remembered_max :])


def _split(returned: object) -> tuple[list[NewEvent], object]:
    """Return the events and the reply in what `handle` returned: a pair, or events alone."""
    events, reply = (returned, None) if not isinstance(returned, tuple) else _pair(returned)
    drafts = [] if events is None else [events] if isinstance(events, NewEvent) else events
    if not isinstance(drafts, list) or not all(isinstance(draft, NewEvent) for draft in drafts):
        raise TypeError(
            "handle returns a NewEvent, a list of them or None, or a pair of these and a reply; "
            f"it returned a {type(returned).__name__}"
        )
    return drafts, reply


def _pair(returned: tuple[Any, ...]) -> tuple[Any, Any]:
    if len(returned) != 2:  # noqa: PLR2004 - events and a reply
        raise TypeError(f"handle returned a tuple of {len(returned)}; a tuple is a pair of events and a reply, events are a list")
    return returned[0], returned[1]


def reply_of(event: Event) -> bytes:
    """Return the encoded reply that lies beside a command's last event.

    Raises:
        DecodeError: what lies there is none.
    """
    text = event.metadata.get(REPLY_KEY)
    try:
        return NOTHING if text is None else base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DecodeError(-1, f"the metadata {REPLY_KEY!r} is no Base64: {error}") from error
