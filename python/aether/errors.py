"""Every error that Aether raises, under one root.

    AetherError
    ├── InvalidIdError (ValueError)            an id, event type or namespace that cannot be a name
    ├── EncodeError (ValueError)               a value that event data may not hold; names the path
    ├── DecodeError (ValueError)               bytes that are not what they should be; names the offset
    │   └── UnknownFormatError                 a message of a later version of Aether
    ├── CommitTooLargeError (ValueError)       a commit larger than the server or the store takes
    ├── VersionConflictError                   somebody else wrote first; names the version really there
    │   └── IdConflictError                    an id that is stored already, with other content or elsewhere
    ├── VersionsUsedUpError (ValueError)       an actor at the last version there is
    ├── CorruptEventError                      a damaged or foreign message; names stream and position
    ├── StoreFullError                         a stated bound of the store is reached
    ├── NamespaceMismatchError                 the stream differs from what this store needs
    ├── NotOwnerError                          a shard that this process does not own (any more); names the owner
    ├── OutcomeUnknownError                    sent, but nobody can say whether it was stored
    │   └── CommandUnknownError                a command of which nobody can say so; asking again is safe
    ├── CommandFailedError                     an actor's own code raised on a command; nothing was written
    ├── IngestError                            events of an ingestion that were not stored; carries each
    ├── DeadlineError (TimeoutError)           nothing was changed, and the time is up
    │   ├── ShardUnavailableError              a shard that was on its way between nodes, or stuck, until the deadline
    │   └── NotDrainedError                    a drained subscription's events were not all handled or read in time
    ├── SubscriptionLaggedError                a subscription fell behind, and events were dropped; says how many
    ├── SubscriptionInterruptedError           a subscription's connection was lost; events may have been missed
    ├── NoSubscriberError                      a request that nobody is subscribed to
    ├── RequestFailedError                     a request whose handler raised
    ├── PublishInterruptedError                published events may not have arrived; says how many at most
    ├── NotPublishedError                      events that are saved, and not published; carries them
    ├── NotLeaderError                         a term of leadership is over; names the leader, as far as known
    ├── ServerUnavailableError (ConnectionError)   no server, or it cannot serve now
    │   ├── UnsupportedServerError             too old, or without JetStream
    │   └── ServersUnreachableError            servers of a cluster that a subscription could not be proven on
    ├── ServerRefusedError                     the server answered no, with a number of its own
    ├── AccessDeniedError (PermissionError)    the server refused these credentials
    ├── StoreDirectoryInUseError               another process owns the embedded server's directory
    ├── LoopInUseError (RuntimeError)          a blocking call inside a running event loop
    └── MissingExtraError (ImportError)        an optional dependency is not installed

Each carries its facts as attributes, in the order of its constructor, and survives pickling. The message says what to do next.
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "AccessDeniedError",
    "AetherError",
    "CommandFailedError",
    "CommandUnknownError",
    "CommitTooLargeError",
    "CorruptEventError",
    "DeadlineError",
    "DecodeError",
    "EncodeError",
    "IdConflictError",
    "IngestError",
    "InvalidIdError",
    "LoopInUseError",
    "MissingExtraError",
    "NamespaceMismatchError",
    "NoSubscriberError",
    "NotDrainedError",
    "NotLeaderError",
    "NotOwnerError",
    "NotPublishedError",
    "OutcomeUnknownError",
    "PublishInterruptedError",
    "RequestFailedError",
    "ServerRefusedError",
    "ServerUnavailableError",
    "ServersUnreachableError",
    "ShardUnavailableError",
    "StoreDirectoryInUseError",
    "StoreFullError",
    "SubscriptionInterruptedError",
    "SubscriptionLaggedError",
    "UnknownFormatError",
    "UnsupportedServerError",
    "VersionConflictError",
    "VersionsUsedUpError",
]


class AetherError(Exception):
    """The root: catch this to catch everything Aether raises on purpose."""


class InvalidIdError(AetherError, ValueError):
    """A name that is empty, too long, or cannot be written as UTF-8.

    Attributes:
        what: which name it is, as "actor_id" or "namespace".
        value: the name as given.
        reason: what is wrong with it, and what is allowed.
    """

    def __init__(self, what: str, value: str, reason: str) -> None:
        super().__init__(what, value, reason)
        self.what, self.value, self.reason = what, value, reason

    def __str__(self) -> str:
        shown = self.value if len(self.value) <= 60 else self.value[:57] + "..."  # noqa: PLR2004 - a line of a terminal
        return f"{self.what} {shown!a}: {self.reason}"


class EncodeError(AetherError, ValueError):
    """A value that event data may not hold.

    Attributes:
        path: where it stands, as "data.items[3].price".
        reason: what it is, and what to use instead.
    """

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(path, reason)
        self.path, self.reason = path, reason

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}"


class DecodeError(AetherError, ValueError):
    """Bytes that are not valid msgpack, break a limit, or do not fit the type asked for.

    Attributes:
        offset: the byte where it was noticed, from 0; -1 where no single byte is to blame.
        reason: what is wrong.
    """

    def __init__(self, offset: int, reason: str) -> None:
        super().__init__(offset, reason)
        self.offset, self.reason = offset, reason

    def __str__(self) -> str:
        return self.reason if self.offset < 0 else f"byte {self.offset}: {self.reason}"


class UnknownFormatError(DecodeError):
    """A message in a format that this version of Aether does not read, most likely a later one; it may well be whole.

    Attributes:
        offset: the byte where the format is written, from 0.
        format: the format's number.
    """

    def __init__(self, offset: int, format: int) -> None:  # noqa: A002 - the key's name in the message
        super().__init__(offset, f"format {format}; this version of Aether reads format 1, use one that reads it")
        self.args = (offset, format)
        self.format = format


class CommitTooLargeError(AetherError, ValueError):
    """A commit, or an event on a bus, that does not fit one message.

    Attributes:
        actor_id: whose commit or event it is.
        size: its bytes, headers included.
        limit: the bytes that fit: the server's max_payload, or 1 MiB in memory.
    """

    def __init__(self, actor_id: str, size: int, limit: int) -> None:
        super().__init__(actor_id, size, limit)
        self.actor_id, self.size, self.limit = actor_id, size, limit

    def __str__(self) -> str:
        return (
            f"{self.actor_id!r}: a message of {self.size:,} bytes, and the limit is {self.limit:,}; keep large blobs elsewhere "
            "and store their address, raise the server's max_payload, or, where it is a commit, save fewer events at once"
        )


class VersionConflictError(AetherError):
    """Another write came first: reload the actor, decide again, save again.

    Attributes:
        actor_id: the actor.
        expected: the latest version the caller counted on (for `save_event` of version v that is v - 1 or less).
        actual: the latest version really there.
    """

    def __init__(self, actor_id: str, expected: int, actual: int) -> None:
        super().__init__(actor_id, expected, actual)
        self.actor_id, self.expected, self.actual = actor_id, expected, actual

    def __str__(self) -> str:
        return (
            f"{self.actor_id!r} is at version {self.actual}, not {self.expected} as this write expected; "
            "reload its events, decide again and save again"
        )


class IdConflictError(VersionConflictError):
    """An event's id is stored already, and not as this event; told where known ids are skipped.

    Attributes:
        actor_id: the actor.
        expected: the version that the event was given, 0 for none.
        actual: the version at which the id is stored.
        event_id: the id.
        reason: what is different there.
    """

    def __init__(self, actor_id: str, expected: int, actual: int, event_id: str, reason: str) -> None:
        super().__init__(actor_id, expected, actual)
        self.args = (actor_id, expected, actual, event_id, reason)
        self.event_id, self.reason = event_id, reason

    def __str__(self) -> str:
        return f"the event {self.event_id!a} of {self.actor_id!a} is there already at version {self.actual}, {self.reason}"


class VersionsUsedUpError(AetherError, ValueError):
    """An actor is at version 2**64 - 1, or so near it that the events do not fit: versions never wrap around.

    Attributes:
        actor_id: the actor.
    """

    def __init__(self, actor_id: str) -> None:
        super().__init__(actor_id)
        self.actor_id = actor_id

    def __str__(self) -> str:
        return f"the versions of {self.actor_id!r} are used up: the last is 2**64 - 1; go on with an actor of another id"


class CorruptEventError(AetherError):
    """A message that is foreign, truncated or altered. Reading stops here rather than guess.

    Attributes:
        stream: where it lies; of a bus, the subject it came on.
        position: its place there, the stream sequence; of a bus, 0.
        actor_id: the actor that was read, or None where that cannot be told.
        reason: what is wrong with it.
    """

    def __init__(self, stream: str, position: int, actor_id: str | None, reason: str) -> None:
        super().__init__(stream, position, actor_id, reason)
        self.stream, self.position, self.actor_id, self.reason = stream, position, actor_id, reason

    def __str__(self) -> str:
        who = "" if self.actor_id is None else f" of {self.actor_id!r}"
        whole = isinstance(self.__cause__, UnknownFormatError)
        cure = "" if self.actor_id is None or whole else f"; to go on without it: aether repair {self.actor_id!r}"
        # What a bus brings has a subject and no place.
        place = f"message {self.position}" if self.position else "a message"
        return f"{place}{who} in {self.stream}: {self.reason}{cure}"


class StoreFullError(AetherError):
    """A bound of the store is reached; nothing of this write was stored.

    Attributes:
        what: the store or stream.
        limit: the bound in words, as "max_events=1000".
        remedy: what makes room.
    """

    def __init__(self, what: str, limit: str, remedy: str) -> None:
        super().__init__(what, limit, remedy)
        self.what, self.limit, self.remedy = what, limit, remedy

    def __str__(self) -> str:
        return f"{self.what} is full ({self.limit}); {self.remedy}"


class NamespaceMismatchError(AetherError):
    """The namespace's stream exists, but with settings this store must not write under.

    Attributes:
        namespace: the namespace.
        differences: one sentence a setting: "guard mode is 'shard', this store needs 'actor'".
        advice: what to do.
    """

    def __init__(
        self, namespace: str, differences: tuple[str, ...], advice: str = "use another namespace, or correct the stream"
    ) -> None:
        super().__init__(namespace, differences, advice)
        self.namespace, self.differences, self.advice = namespace, differences, advice

    def __str__(self) -> str:
        differences = "; ".join(self.differences)
        return f"namespace {self.namespace!r} does not fit: {differences}; {self.advice}"


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


class OutcomeUnknownError(AetherError):
    """A write was sent and no answer could be had within the deadline: it may be stored, or not, or still be on its way.

    Saving the same events again is safe: what is there already is recognised.

    Attributes:
        actor_id: whose write it was.
        timeout_s: the deadline that passed, in seconds.
    """

    def __init__(self, actor_id: str, timeout_s: float) -> None:
        super().__init__(actor_id, timeout_s)
        self.actor_id, self.timeout_s = actor_id, timeout_s

    def __str__(self) -> str:
        return (
            f"{self.actor_id!r}: no answer within {self.timeout_s:g} s, the write may or may not be stored; "
            "saving the same event again is safe, an append is best followed by a load"
        )


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


class IngestError(AetherError):
    """Events that were put into an ingestion pipeline and are not stored, or may not be; all others are.

    The pipeline can go on. Putting the failed events again, in their order, is safe: what is stored is recognised.

    Attributes:
        failures: pairs of an event and its error, the first 1,000; `on_failure` of `ingest` gets all.
        conflicts: how many were refused because their actor was at their version or beyond.
        failed: how many were not stored for another reason.
        unknown: how many may be stored or not.
    """

    def __init__(self, failures: tuple[tuple[Any, AetherError], ...], conflicts: int, failed: int, unknown: int) -> None:
        super().__init__(failures, conflicts, failed, unknown)
        self.failures, self.conflicts, self.failed, self.unknown = failures, conflicts, failed, unknown

    def __str__(self) -> str:
        total = self.conflicts + self.failed + self.unknown
        first = f"; the first: {self.failures[0][1]}" if self.failures else ""
        return (
            f"{total:,} of the events put are not known to be stored "
            f"({self.conflicts:,} conflicts, {self.failed:,} failed, {self.unknown:,} unknown){first}"
        )


class DeadlineError(AetherError, TimeoutError):
    """The time is up, and nothing was changed; where it may have been, `what` says so.

    Attributes:
        what: what was being done.
        timeout_s: the deadline that passed, in seconds.
    """

    def __init__(self, what: str, timeout_s: float) -> None:
        super().__init__(what, timeout_s)
        self.what, self.timeout_s = what, timeout_s

    def __str__(self) -> str:
        return f"{self.what}: no answer within {self.timeout_s:g} s; try again, or allow more with timeout_s="


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


class NotDrainedError(DeadlineError):
    """A subscription was to end once what waits in it was handled or read, and that took too long. It has ended.

    Attributes:
        what: the subscription.
        left: how many events nobody has read, or whose handlers had not begun or not finished.
        timeout_s: the time that it had, in seconds.
    """

    def __init__(self, what: str, left: int, timeout_s: float) -> None:
        super().__init__(what, timeout_s)
        self.args = (what, left, timeout_s)
        self.left = left

    def __str__(self) -> str:
        return (
            f"{self.what} was drained, and {self.left:,} events were left when {self.timeout_s:g} s had passed; read or handle "
            "them faster, or allow more with timeout_s="
        )


class SubscriptionLaggedError(AetherError):
    """Events were dropped here, because what waits to be read reached the subscription's bound. Iteration can go on.

    Attributes:
        missed: how many events are missing between the one before this error and the one after it.
    """

    def __init__(self, missed: int) -> None:
        super().__init__(missed)
        self.missed = missed

    def __str__(self) -> str:
        return (
            f"{self.missed:,} events were missed here: they came faster than they were read; go on iterating, and read from the "
            "store what must not be missed, or allow more with max_pending= and max_pending_bytes="
        )


class SubscriptionInterruptedError(AetherError):
    """A connection was lost: events published meanwhile may be missing. Iteration can go on.

    Attributes:
        reason: what happened to the connection, and whether something is still amiss.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.reason}; events published meanwhile may have been missed: go on iterating, and read from the store what "
            "must not be missed"
        )


class NoSubscriberError(AetherError):
    """A request was sent, and nobody is subscribed to events like it; nothing happened.

    Attributes:
        event_type: the request's type.
        actor_id: the request's actor.
    """

    def __init__(self, event_type: str, actor_id: str) -> None:
        super().__init__(event_type, actor_id)
        self.event_type, self.actor_id = event_type, actor_id

    def __str__(self) -> str:
        return (
            f"nobody is subscribed to {self.event_type!r} of {self.actor_id!r}; subscribe a handler that answers it, "
            "or try again once the service that does is up"
        )


class RequestFailedError(AetherError):
    """The handler that took a request raised, so there is no answer. Whether it had done something before, it alone knows.

    Attributes:
        reason: the handler's error, as "ValueError: no such order".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the handler failed: {self.reason}; its own process has logged where"


class PublishInterruptedError(AetherError):
    """The connection was lost before the server confirmed what was published, so some of it may not have arrived.

    Attributes:
        count: how many events may be missing at most, all published since the last `flush`.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def __str__(self) -> str:
        return (
            f"the connection was lost: up to {self.count:,} events published since the last flush may not have arrived; "
            "publish them again where twice does no harm, and save in a store what must not be lost"
        )


class NotPublishedError(AetherError):
    """Events were saved, and could not be published after that. They are in the store, and saving them again is not needed.

    Attributes:
        position: the position of their commit.
        events: the events, as they are stored.
    """

    def __init__(self, position: int, events: tuple[Any, ...]) -> None:
        super().__init__(position, events)
        self.position, self.events = position, events

    def __str__(self) -> str:
        why = "" if self.__cause__ is None else f" ({self.__cause__})"
        return (
            f"saved at position {self.position}, and not published: {len(self.events):,} events{why}; do not save them again, "
            "await bus.publish_many(error.events)"
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


class ServerUnavailableError(AetherError, ConnectionError):
    """No server answers, or the one that does cannot serve now.

    Attributes:
        url: where it was looked for, without credentials.
        reason: what happened, and what to type next.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class UnsupportedServerError(ServerUnavailableError):
    """The server answers, but lacks what Aether needs: its version is too old, or JetStream is off."""


class ServersUnreachableError(ServerUnavailableError):
    """Servers of the cluster through which it could not be proven that a subscription hears what is published there.

    Attributes:
        servers: their URLs, without credentials.
        why: what happened at the first of them; empty where there is no more to say.
    """

    def __init__(self, servers: tuple[str, ...], why: str = "") -> None:
        cure = 'bring them back, or settle for the own server with ready="server"'
        because = f" ({why})" if why else ""
        super().__init__(", ".join(servers), f"not reached{because}, so events published there may not be heard yet; {cure}")
        self.args = (servers, why)
        self.servers, self.why = servers, why


class ServerRefusedError(AetherError):
    """JetStream answered no, for a reason that Aether has no name for; nothing was stored.

    Attributes:
        what: the stream or the call.
        err_code: JetStream's number for it, as its documentation lists them.
        description: JetStream's own words.
    """

    def __init__(self, what: str, err_code: int, description: str) -> None:
        super().__init__(what, err_code, description)
        self.what, self.err_code, self.description = what, err_code, description

    def __str__(self) -> str:
        return f"{self.what}: JetStream refused with error {self.err_code}: {self.description}"


class AccessDeniedError(AetherError, PermissionError):
    """The server refused the credentials, or the account may not do this.

    Attributes:
        url: the server, without credentials.
        reason: what it refused.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(url, reason)
        self.url, self.reason = url, reason

    def __str__(self) -> str:
        return f"{self.url}: {self.reason}"


class StoreDirectoryInUseError(AetherError):
    """Another embedded server owns this directory.

    Attributes:
        directory: the directory.
        owner_pid: the owning process, or 0 where that cannot be told.
    """

    def __init__(self, directory: str, owner_pid: int) -> None:
        super().__init__(directory, owner_pid)
        self.directory, self.owner_pid = directory, owner_pid

    def __str__(self) -> str:
        owner = f"process {self.owner_pid}" if self.owner_pid else "another process"
        return f"{self.directory} is in use by {owner}; connect to that server by its URL, end it, or name another directory"


class LoopInUseError(AetherError, RuntimeError):
    """A blocking call was made inside a running event loop, which it would have stopped.

    Attributes:
        call: the call, as "JetStreamEventStore".
    """

    def __init__(self, call: str) -> None:
        super().__init__(call)
        self.call = call

    def __str__(self) -> str:
        return (
            f"aether.sync.{self.call} would block the event loop that runs here; use aether.{self.call} with await, "
            "or call this from a thread (asyncio.to_thread)"
        )


class MissingExtraError(AetherError, ImportError):
    """An optional dependency is needed and not installed.

    Attributes:
        feature: what needs it.
        extra: the extra that brings it.
    """

    def __init__(self, feature: str, extra: str) -> None:
        super().__init__(feature, extra)
        self.feature, self.extra = feature, extra

    def __str__(self) -> str:
        return f'{self.feature} needs an optional dependency; type: python3 -m pip install "aether-events[{self.extra}]"'
