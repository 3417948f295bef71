"""The native core of Aether; import these names from `aether`.

`Event`, `NewEvent`, `Snapshot`, `ArrowBatch`, `ArrowTable` and what `aether.codec` re-exports are public. The rest is for
Aether's own stores and buses.
The docstrings are those of the extension itself; a test compares them.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Self, TypeVar, final, overload
from uuid import UUID

__all__ = [
    "ArrowBatch",
    "ArrowRows",
    "ArrowTable",
    "Commit",
    "EpochRecord",
    "Event",
    "EventFilter",
    "Exchange",
    "FenceMark",
    "FrameReader",
    "Head",
    "HeadCache",
    "Limits",
    "Mailbox",
    "MemoryLog",
    "NewEvent",
    "Pending",
    "Records",
    "Replay",
    "RosterBudget",
    "ShardTable",
    "Snapshot",
    "SpineSearch",
    "SpineWalk",
    "Tally",
    "actor_subject",
    "arrow_stream",
    "assign",
    "batch_schema",
    "bus_body",
    "bus_subject",
    "check_actor_id",
    "check_events",
    "commit_count",
    "decode",
    "decode_reply",
    "encode",
    "encode_commit",
    "encode_epoch",
    "encode_error",
    "encode_reply",
    "events_in",
    "format_records",
    "get_default_limits",
    "number_events",
    "payload_json",
    "position_of",
    "publish_events",
    "publish_frame",
    "read_record",
    "request_frames",
    "set_default_limits",
    "shard_of",
    "token_decode",
    "token_encode",
]

_T = TypeVar("_T")

# codec

@final
class Limits:
    """How large a payload may be. Checked while encoding, and before decoding makes any object.

    Args:
        payload_bytes_max: encoded bytes, 1 to 4,294,967,295.
        depth_max: containers within containers, 0 (no container at all) to 512.
        elements_max: items of all lists plus entries of all dicts, 0 to 4,294,967,295.

    Raises:
        TypeError: a limit that is no int.
        ValueError: a limit out of its range.
    """

    def __new__(cls, *, payload_bytes_max: int = 1000000, depth_max: int = 32, elements_max: int = 100000) -> Self: ...
    @property
    def payload_bytes_max(self) -> int:
        """Encoded bytes."""

    @property
    def depth_max(self) -> int:
        """Containers within containers; a value that holds no other has depth 0."""

    @property
    def elements_max(self) -> int:
        """Items of all lists plus entries of all dicts."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __getnewargs_ex__(self, /) -> tuple[tuple[()], dict[str, int]]: ...

def encode(value: object, /, *, limits: Limits | None = None) -> bytes:
    """Plain data, or a typed value, as msgpack bytes: those of `msgpack.packb(value, datetime=True)` for all that both accept.

    Args:
        value: None, bool, int (-2**63 to 2**64 - 1), finite float, str, bytes, list, tuple, dict with str keys, aware datetime,
            or a msgspec Struct, dataclass or pydantic model of these. Subclasses of str, int, float, list, tuple and dict
            are written as what they are made of, so an `IntEnum` as its number and a `StrEnum` as its text.
        limits: how large it may be; None: the default limits.

    Raises:
        EncodeError: a value that data may not hold, or a limit passed; `path` says where, as "data.items[3].price".
    """

def decode(data: bytes, /, *, limits: Limits | None = None) -> Any:
    """The value of msgpack bytes that any library wrote: NaN, keys that are no str, and extensions included.

    Timestamps become aware datetimes in UTC, cut to microseconds; those outside the years 1 to 9999 and other extensions
    `msgspec.msgpack.Ext`; lists as keys tuples.

    Args:
        data: exactly one value.
        limits: how large it may be, checked before any object is made; None: the default limits.

    Raises:
        DecodeError: bytes that are no msgpack, not exactly one value, or pass a limit; `offset` says where.
    """

def get_default_limits() -> Limits:
    """The limits that hold where a call gives none."""

def set_default_limits(limits: Limits, /) -> None:
    """Sets the limits for every later call in this process that gives none, and for the data of every event and snapshot."""

# event, new_event, snapshot

@final
class Event:
    """Something that happened to one actor. It never changes.

    `data` is encoded when the event is made, so nothing that the caller changes later is seen, and `.data` decodes afresh at
    each access. Two events are equal if all their fields are: id, actor, type, version, time, data and metadata. Events can
    be hashed, pickled and copied (a copy is the same object).

    Args:
        actor_id: whose event it is, any string of 1 to 255 UTF-8 bytes.
        event_type: what happened, 1 to 255 UTF-8 bytes.
        version: its place among the actor's events, from 1 to 2**64 - 1. Versions of an actor strictly increase.
        data: None, bool, int (-2**63 to 2**64 - 1), finite float, str, bytes, list, tuple, dict with str keys, aware
            datetime, or a msgspec Struct, dataclass or pydantic model of these.
        id: a string of 1 to 255 UTF-8 bytes or a `uuid.UUID`; None: a new UUID of version 7, greater than all that this
            process made before. A UUID in its canonical form (lower case, hyphens) takes 16 bytes.
        timestamp: when it happened, an aware datetime within the years 1677 to 2262; None: now, in nanoseconds.
        metadata: str to str, about the event rather than of it, at most 65,536 bytes encoded.

    Raises:
        InvalidIdError: `actor_id`, `event_type` or `id` is empty, too long or no UTF-8.
        EncodeError: `data` or `metadata` holds what it may not; `path` says where.
        TypeError: an argument of another type.
        ValueError: a version out of range, or a timestamp that is naive or out of range.
    """

    def __new__(
        cls,
        actor_id: str,
        event_type: str,
        version: int,
        data: object = None,
        *,
        id: str | UUID | None = None,
        timestamp: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Self: ...
    @property
    def id(self) -> str:
        """The event's id; a UUID is given in its canonical form."""

    @property
    def actor_id(self) -> str:
        """Whose event it is."""

    @property
    def event_type(self) -> str:
        """What happened."""

    @property
    def version(self) -> int:
        """Its place among the actor's events, from 1."""

    @property
    def data(self) -> Any:
        """The data, decoded afresh at each access: keep it in a name to read several fields. Tuples come back as lists."""

    @property
    def payload(self) -> bytes:
        """The data as msgpack bytes, just as they are stored."""

    @property
    def timestamp(self) -> datetime:
        """When it happened, as an aware datetime in UTC, cut to microseconds; `time_ns` has the rest."""

    @property
    def time_ns(self) -> int:
        """When it happened, in nanoseconds since 1970-01-01 UTC; before that it is negative."""

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata, a new dict at each access, its keys sorted."""

    @property
    def correlation_id(self) -> str | None:
        """The metadata's "correlation_id": which conversation it belongs to. None if it has none."""

    @property
    def causation_id(self) -> str | None:
        """The metadata's "causation_id": the message that caused it. None if it has none."""

    @property
    def command_id(self) -> str | None:
        """The metadata's "command_id": the command it came from. None if it has none."""

    @overload
    def decode(self, type: type[_T], /) -> _T:
        """The data as a value of `type`: a msgspec Struct, a dataclass, a pydantic model, or any type that msgspec decodes.

        Raises:
            DecodeError: the data does not fit the type; `reason` names the field.
        """

    @overload
    def decode(self, type: Any, /) -> Any: ...
    def _draft(self, /) -> NewEvent:
        """The same event as a `NewEvent`, without actor and version."""

    @staticmethod
    def _restore(
        actor_id: str,
        event_type: str,
        version: int,
        payload: bytes,
        id: str,
        time_ns: int,
        meta: bytes,
        extra: tuple[bytes, int],
        /,
    ) -> Event:
        """What pickle calls."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __copy__(self, /) -> Self: ...
    def __deepcopy__(self, memo: object, /) -> Self: ...
    def __reduce__(self, /) -> tuple[Any, tuple[Any, ...]]: ...

@final
class NewEvent:
    """An event that has no actor and no version yet: `append` gives it both.

    Like an `Event` it is frozen and its data is encoded once, when it is made.

    Args:
        event_type: what happened, 1 to 255 UTF-8 bytes.
        data: what is to be known about it; see `Event` for what it may hold.
        id: a string of 1 to 255 UTF-8 bytes or a `uuid.UUID`; None: a new UUID of version 7.
        timestamp: when it happened, an aware datetime within the years 1677 to 2262; None: now, in nanoseconds.
        metadata: str to str, about the event rather than of it, at most 65,536 bytes encoded.

    Raises:
        InvalidIdError: `event_type` or `id` is empty, too long or no UTF-8.
        EncodeError: `data` or `metadata` holds what it may not; `path` says where.
        TypeError: an argument of another type.
        ValueError: a timestamp that is naive or out of range.
    """

    def __new__(
        cls,
        event_type: str,
        data: object = None,
        *,
        id: str | UUID | None = None,
        timestamp: datetime | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Self: ...
    @property
    def id(self) -> str:
        """The event's id; a UUID is given in its canonical form."""

    @property
    def event_type(self) -> str:
        """What happened."""

    @property
    def data(self) -> Any:
        """The data, decoded afresh at each access: keep it in a name to read several fields. Tuples come back as lists."""

    @property
    def payload(self) -> bytes:
        """The data as msgpack bytes, just as they will be stored."""

    @property
    def timestamp(self) -> datetime:
        """When it happened, as an aware datetime in UTC, cut to microseconds; `time_ns` has the rest."""

    @property
    def time_ns(self) -> int:
        """When it happened, in nanoseconds since 1970-01-01 UTC; before that it is negative."""

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata, a new dict at each access, its keys sorted."""

    @property
    def correlation_id(self) -> str | None:
        """The metadata's "correlation_id": which conversation it belongs to. None if it has none."""

    @property
    def causation_id(self) -> str | None:
        """The metadata's "causation_id": the message that caused it. None if it has none."""

    @property
    def command_id(self) -> str | None:
        """The metadata's "command_id": the command it came from. None if it has none."""

    def with_metadata(self, entries: Mapping[str, str], /) -> NewEvent:
        """The same event, id and time included, with these entries in its metadata too; they win over those of the same name.

        Raises:
            EncodeError: they hold what metadata may not, or all of it together is larger than 65,536 bytes.
            TypeError: no mapping.
        """

    @overload
    def decode(self, type: type[_T], /) -> _T:
        """The data as a value of `type`: a msgspec Struct, a dataclass, a pydantic model, or any type that msgspec decodes.

        Raises:
            DecodeError: the data does not fit the type; `reason` names the field.
        """

    @overload
    def decode(self, type: Any, /) -> Any: ...
    @staticmethod
    def _restore(
        actor_id: str | None,
        event_type: str,
        version: int,
        payload: bytes,
        id: str,
        time_ns: int,
        meta: bytes,
        extra: tuple[bytes, int],
        /,
    ) -> NewEvent:
        """What pickle calls; actor and version are those of no event."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __copy__(self, /) -> Self: ...
    def __deepcopy__(self, memo: object, /) -> Self: ...
    def __reduce__(self, /) -> tuple[Any, tuple[Any, ...]]: ...

@final
class Snapshot:
    """An actor's state as of a version: a shortcut for loading that never changes what a load yields. Frozen.

    Args:
        actor_id: whose state it is, any string of 1 to 255 UTF-8 bytes.
        version: the version of the last event that the state contains, from 1 to 2**64 - 1.
        state: the state; see `Event` for what it may hold. It is encoded once, when the snapshot is made.
        timestamp: when it was taken, an aware datetime within the years 1677 to 2262; None: now, in nanoseconds.

    Raises:
        InvalidIdError: `actor_id` is empty, too long or no UTF-8.
        EncodeError: `state` holds what it may not; `path` says where.
        TypeError: an argument of another type.
        ValueError: a version out of range, or a timestamp that is naive or out of range.
    """

    def __new__(cls, actor_id: str, version: int, state: object, *, timestamp: datetime | None = None) -> Self: ...
    @property
    def actor_id(self) -> str:
        """Whose state it is."""

    @property
    def version(self) -> int:
        """The version of the last event that the state contains."""

    @property
    def state(self) -> Any:
        """The state, decoded afresh at each access. Tuples come back as lists."""

    @property
    def payload(self) -> bytes:
        """The state as msgpack bytes, just as they are stored."""

    @property
    def timestamp(self) -> datetime:
        """When it was taken, as an aware datetime in UTC, cut to microseconds; `time_ns` has the rest."""

    @property
    def time_ns(self) -> int:
        """When it was taken, in nanoseconds since 1970-01-01 UTC; before that it is negative."""

    @overload
    def decode(self, type: type[_T], /) -> _T:
        """The state as a value of `type`: a msgspec Struct, a dataclass, a pydantic model, or any type that msgspec decodes.

        Raises:
            DecodeError: the state does not fit the type; `reason` names the field.
        """

    @overload
    def decode(self, type: Any, /) -> Any: ...
    @staticmethod
    def _restore(actor_id: str, version: int, time_ns: int, payload: bytes, /) -> Snapshot:
        """What pickle calls."""

    @staticmethod
    def _from_bytes(body: bytes, /) -> Snapshot:
        """The snapshot of a message's body.

        Raises:
            DecodeError: these bytes are no snapshot.
        """

    def _to_bytes(self, /) -> bytes:
        """The body of its message."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...
    def __copy__(self, /) -> Self: ...
    def __deepcopy__(self, memo: object, /) -> Self: ...
    def __reduce__(self, /) -> tuple[Any, tuple[Any, ...]]: ...

# names: token, shard, subject

def check_actor_id(actor_id: str, /) -> None:
    """Refuses what is no actor id.

    Raises:
        InvalidIdError: it is empty, longer than 255 UTF-8 bytes, or has a lone surrogate.
    """

def token_encode(id: str, /) -> str:
    """The subject token of an id: `[A-Za-z0-9_-]` stay, every other byte of its UTF-8 becomes `=XX`.

    Raises:
        InvalidIdError: this is no id.
    """

def token_decode(token: str, /) -> str | None:
    """The id whose token this is; None if it is the token of none."""

def shard_of(actor_id: str, /) -> int:
    """The shard of an actor, 0 to 1020: FNV-1a-32 of its token modulo 1021, as the server's `partition()` computes it.

    Raises:
        InvalidIdError: this is no id.
    """

def actor_subject(namespace: str, actor_id: str, /) -> str:
    """The subject of an actor's commits: `aether.<namespace>.<shard>.<token>`. The namespace is taken as it is.

    Raises:
        InvalidIdError: `actor_id` is no id.
    """

# commit

@final
class Commit:
    """One message of an actor: a commit as it was written. Stores work with it, users see its events."""

    @staticmethod
    def decode(body: bytes, /) -> Commit:
        """The commit of a message's body.

        Raises:
            DecodeError: these bytes are no commit; `offset` says where that was noticed.
        """

    def encode(self, /) -> bytes:
        """The body again. For what Aether itself wrote these are the same bytes, with keys that a later version added."""

    @property
    def actor_id(self) -> str:
        """Whose commit it is."""

    @property
    def version(self) -> int:
        """The actor's latest version after this commit."""

    @property
    def version_before(self) -> int:
        """The version before its first event; its own where it has no events."""

    @property
    def spine(self) -> list[tuple[int, int]] | None:
        """The roots over the actor's earlier commits, as (sequence, size); None where the writer gave none."""

    @property
    def epoch(self) -> int | None:
        """The epoch of its shard under which it was written; None outside shard mode."""

    @property
    def passed(self) -> list[int]:
        """The positions that readers of this actor step over."""

    def events(self, /, from_version: int = 0) -> list[Event]:
        """The events from `from_version` on."""

    def head(self, /, sequence: int) -> Head:
        """The head this commit makes at `sequence`."""

def check_events(events: Iterable[Event]) -> tuple[str, int, int]:
    """What makes these events one commit: the actor, the first and the last version.

    Raises:
        TypeError: not an iterable of `Event`.
        ValueError: no events, of several actors, or versions that do not increase.
    """

def encode_commit(
    actor_id: str,
    events: Iterable[Event],
    head: Head,
    *,
    header_bytes: int,
    bytes_max: int,
    passed: Sequence[int] = ...,
    epoch: int | None = None,
) -> bytes:
    """The body of a commit on top of `head`; no events: a repair, which passes positions.

    Args:
        actor_id: whose commit it is.
        events: its events, of this actor, all above the head's version.
        head: the actor's head, under whose sequence it will be guarded.
        header_bytes: what the message's headers take.
        bytes_max: what body and headers may take together.
        passed: positions that readers of this actor step over.
        epoch: the epoch of the actor's shard, from 1, under which its owner writes this; None: the shard has no owner.

    Raises:
        CommitTooLargeError: it does not fit.
        ValueError: events of another actor, versions that do not increase from the head's on, or epoch 0.
    """

def events_in(commits: Sequence[tuple[int, Commit]], from_version: int = 0, limit: int | None = None) -> list[Event]:
    """The events of these commits from `from_version` on, at most `limit`, in order."""

def position_of(commits: Sequence[tuple[int, Commit]], events: Iterable[Event]) -> int | None:
    """The position of the last of `events` if the commits hold an equal event for each of them."""

def number_events(actor_id: str, events: NewEvent | Iterable[NewEvent], first_version: int) -> list[Event]:
    """Gives new events an actor and the versions from `first_version` on.

    Args:
        actor_id: whose events they become.
        events: one `NewEvent` or an iterable of them.
        first_version: the version of the first, from 1.

    Raises:
        TypeError: something else than `NewEvent`.
        ValueError: the versions would pass 2**64 - 1.
    """

# shards: the record of an epoch, the assignment, the table

@final
class EpochRecord:
    """Says that a node has taken a shard; the stream sequence of the record is the epoch."""

    @staticmethod
    def decode(body: bytes, /) -> EpochRecord:
        """The record of a message's body.

        Raises:
            DecodeError: these bytes are no record of an epoch; `offset` says where that was noticed.
        """

    @property
    def node(self) -> str:
        """The node that has taken the shard."""

    @property
    def incarnation(self) -> int:
        """Which life of the node, from 1: the stream sequence of its lease's first write."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    def __hash__(self, /) -> int: ...

def encode_epoch(node: str, incarnation: int) -> bytes:
    """The body of the record that a node has taken a shard.

    Args:
        node: the node's name, any string of 1 to 255 UTF-8 bytes.
        incarnation: which life of the node, from 1 to 2**64 - 1.

    Raises:
        InvalidIdError: `node` is empty, too long or no UTF-8.
        OverflowError: an incarnation below 0 or above 2**64 - 1.
        ValueError: incarnation 0.
    """

def assign(current: Sequence[int], nodes: Sequence[tuple[str, int]]) -> list[int]:
    """Which node owns which shard: each node gets its part by weight, and as few shards as possible move.

    A node's quota is `len(current) * weight / sum of weights`; it gets that number of shards, rounded down or up. Of all
    assignments that obey this, the result takes the fewest shards away from nodes that have them. It does not depend on the order
    in which the nodes are listed.

    Args:
        current: for each shard the index in `nodes` of the node that owns it now; -1: nobody, or a node that is gone.
        nodes: the nodes that may own shards, as (name, weight); at most 65,536, no name twice. A weight is 0 to 1,000,000; a node
            of weight 0 gives its shards away.

    Returns:
        For each shard the index of its owner; -1 only where no node has a weight.

    Raises:
        ValueError: an index that is none, two nodes of the same name, or a limit passed.
    """

@final
class ShardTable:
    """The owner of each of the 1021 shards, as a snapshot that never changes.

    Args:
        owners: the owners, any objects.
        index: for each shard the index of its owner in `owners`; -1: it has none.

    Raises:
        ValueError: not 1021 entries, or an index that is none.
    """

    def __new__(cls, owners: Sequence[object], index: Sequence[int]) -> Self: ...
    def owner_of(self, actor_id: str, /) -> Any:
        """The owner of the actor's shard; None: it has none.

        Raises:
            InvalidIdError: this is no id.
        """

    def of_shard(self, shard: int, /) -> Any:
        """The owner of a shard; None: it has none, or there is no such shard."""

    def shards_of(self, owner: int, /) -> list[int]:
        """The shards of the owner at this index, ascending."""

# heads

@final
class Head:
    """What a writer knows of an actor: its latest version, the sequence of its latest commit, and the next commit's spine."""

    def __new__(cls) -> Self: ...
    @property
    def version(self) -> int:
        """The actor's latest version; 0: it has no event yet."""

    @property
    def sequence(self) -> int:
        """The stream sequence of its latest commit; 0: it has none yet."""

    def after(self, /, version: int, sequence: int) -> Head:
        """The head once a commit that was written on top of this one lies at `sequence`."""

    def __eq__(self, value: object, /) -> bool: ...
    def __ne__(self, value: object, /) -> bool: ...
    __hash__: None  # type: ignore[assignment]  # a value that is compared, never a key

@final
class HeadCache:
    """The heads of the actors used last, at most `capacity` of them; the least recently used goes first. Safe from many threads.

    Raises:
        ValueError: `capacity` is 0.
    """

    def __new__(cls, capacity: int) -> Self: ...
    def get(self, actor_id: str, /) -> Head | None:
        """The actor's head, or None where it is not known."""

    def put(self, actor_id: str, head: Head, /) -> None:
        """Keeps the actor's head unless a later one is known: answers may arrive out of order."""

    def forget(self, actor_id: str, /) -> None:
        """Drops what is known of the actor."""

    @property
    def dropped(self) -> int:
        """How many were dropped so far to make room for others."""

    def __len__(self, /) -> int: ...

@final
class RosterBudget:
    """What the rosters of a node's shards may take together. Safe from many threads.

    Args:
        bytes_max: so many bytes. A roster that passes it is dropped, and none should be begun before others
            have gone and half of it is free.
    """

    def __new__(cls, bytes_max: int, /) -> Self: ...
    @property
    def bytes(self) -> int:
        """What they take now."""

    @property
    def is_spent(self) -> bool:
        """No roster should be begun."""

@final
class FenceMark:
    """Where a shard's fence stands, shared by the owner's writer and its pipelines. Safe from many threads.

    It may have a *roster*, of who is in the shard. That is dropped where `last` or `key` is set, and where `is_open` is set to
    False: it holds only as long as nothing comes to the shard but through `pass_to`, and pipelines that hold this.

    Attributes:
        last: the position of the shard's last message, as the owner knows it.
        key: under which name heads are remembered that may be written on.
        is_open: writes are taken.
    """

    last: int
    key: int
    is_open: bool
    def __new__(cls, last: int, key: int) -> Self: ...
    @property
    def has_roster(self) -> bool:
        """A roster was begun, and holds."""

    def pass_to(self, position: int, subject: str, /) -> None:
        """Sets `last` to the position of a message on this subject, whose actor is in the shard from now on."""

    def begin_roster(self, budget: RosterBudget, /) -> int:
        """Begins a roster, and returns its serial number: who comes to the shard from now on is in it."""

    def fill_roster(self, serial: int, subjects: list[str], /) -> bool:
        """Makes the roster of this serial number whole with all subjects that the shard had when it was begun, or later.

        Returns whether it holds; False: it was dropped meanwhile, or there is no room for it.

        Raises:
            TypeError: an item is no str; the roster is as it was.
        """

    def end_roster(self, serial: int, /) -> None:
        """Drops the roster of this serial number, where it is there still."""

    def is_new(self, actor_id: str, /) -> bool:
        """Whether the actor surely has no message in the shard up to `last`, as its roster tells; without one: False."""

# ingestion

@final
class Pending:
    """Ingestion's bookkeeping: events by actor, one commit in flight per actor, many actors in flight. Safe from many threads.

    It is an outbox and a sink of `aether.nats.transport`: what to send comes out of it, and the answers go into it.

    Args:
        namespace: where the events belong.
        stream: the stream whose acks count.
        heads: what the store knows of its actors; shared with its other writers.
        pending_max: events put and not settled, 1 to 1,000,000.
        pending_bytes_max: their bytes.
        in_flight_max: commits sent and not settled.
        in_flight_bytes_max: their bytes.
        commit_events_max: events of one commit.
        commit_bytes_max: bytes of a message, headers included, that events share; one alone may pass it. None: what the server
            takes.

    Raises:
        ValueError: a bound of 0, or a `pending_max` that is too large.
    """

    def __new__(
        cls,
        namespace: str,
        stream: str,
        heads: HeadCache,
        *,
        pending_max: int,
        pending_bytes_max: int,
        in_flight_max: int,
        in_flight_bytes_max: int,
        commit_events_max: int,
        commit_bytes_max: int | None = None,
    ) -> Self: ...
    def put(self, event: Event | tuple[str, NewEvent], /) -> bool:
        """Takes one event if there is room for it; says whether it did.

        Raises:
            TypeError: it is neither an `Event` nor an actor id with a `NewEvent`.
        """

    def pull(self, iterator: Iterator[Event | tuple[str, NewEvent]], count: int, /) -> tuple[int, bool]:
        """Takes events off the iterator as long as there is room, at most `count`.

        Returns how many, and whether that was the end.

        What came before an error is taken.

        Raises:
            TypeError: an item is neither an `Event` nor an actor id with a `NewEvent`; what the iterator itself raises comes
                through.
        """

    def put_tagged(self, events: list[tuple[int, Event | tuple[str, NewEvent]]], /) -> int:
        """Takes the first of these (tag, event) as long as there is room, and returns how many; tags increase.

        Raises:
            TypeError: an item is neither an `Event` nor an actor id with a `NewEvent`; none is taken.
        """

    def settled_tag(self) -> int:
        """Everything put up to and with this tag is settled; 0: nothing is."""

    def skip_known(self, ids_max: int, /) -> None:
        """Reads what an actor holds before its first commit, and skips what is there; keeps at most so many ids."""

    def tell_outcomes(self) -> None:
        """Keeps every outcome from now on until it is taken; what is not taken counts as pending where room is asked for."""

    def outcomes(self, count: int, /) -> list[tuple[str, Event | NewEvent, Any, int, int]]:
        """Takes outcomes in the order in which they came to be, at most `count`, as (actor, event, status, position, key).

        An event that is stored is an `Event`; one that is not is as it was put, without the actor.
        """

    def is_full(self) -> bool:
        """Whether an actor has a commit's worth of events that has not been sent."""

    def has_room(self) -> bool:
        """Whether an event could be put now."""

    def frames(self, inbox: str, /) -> bytes:
        """Returns the next commits as frames, a bounded number of bytes; none: there are no more for now."""

    def messages(self) -> list[tuple[str, int, int, bytes, str | None]]:
        """Returns the next commits one by one, as (subject, token, guard, body, guarded); none: there are no more for now.

        Guarded: the subject of which the guard speaks, where that is another.
        """

    def accept(self, token: int, status: int, position: int, subject: str, body: bytes) -> None:
        """Takes one answer, where they come one by one."""

    def set_commit_bytes_max(self, commit_bytes_max: int, /) -> None:
        """Sets what one message may take, headers included: the server says it anew with each connection."""

    def headless(self, count: int, /) -> list[tuple[str, int]]:
        """Actors whose head must be read before they go on, at most `count`; each is told of once.

        Where known ids are skipped, its events must be given to `learn` first, from the version that comes with it.
        """

    def learn(self, actor_id: str, events: Iterable[Event], /) -> bool:
        """Takes what an actor holds, in order; False: it is more than may be kept.

        Raises:
            TypeError: an item is no `Event`.
        """

    def found(self, actor_id: str, head: Head | None, /) -> None:
        """Takes a head that was read; None: it cannot be read, and the actor's next events are in trouble."""

    def lose(self, subject: str | None = None, *, denied: bool = False) -> int:
        """Says that everything sent is lost, or what was sent to `subject` (in lower case); returns how many commits that hits.

        `denied`: the server says that it took nothing of it.
        """

    def tick(self, rounds: int, /) -> int:
        """Says that a round has passed: what was sent more than `rounds` ago is in trouble; returns how many commits are."""

    def troubles(self, count: int, /) -> list[tuple[int, str, int, int, int, int, list[Event], list[bool], list[int]]]:
        """Commits that need somebody, at most `count`; each is told of once.

        As (ticket, why, number, guard, version, beaten, events, drafts, tags).

        Why: "silent", "refused" (number: JetStream's), "unheard"; and not sent: "behind" (a draft among them has version 0),
        "large" (number: its bytes), "taken" and "elsewhere" (number: the version at which the id is stored, with other or with
        equal content), "unread". Version: that of the actor at the guard. Beaten: how often in a row others came first.
        """

    def settle(self, ticket: int, fates: Sequence[tuple[str, int, int, int]], /) -> None:
        """Says what becomes of each event of a commit in trouble, as (status, version, position, key).

        Status: "saved", "already_stored", "conflict", "failed", "unknown"; "again": it goes back to the front of its queue, as
        it was put; "renumber": the same, without its version. What goes back is surely not stored and cannot come to be.
        Version 0: its own. Position 0: not known. Key: yours, for what went wrong.

        Raises:
            ValueError: there is no such commit in trouble, or it has another number of events.
        """

    def drop_queued(self, key: int = 0, /) -> list[tuple[Event | tuple[str, NewEvent], int]]:
        """Gives back every event that was not sent yet, as (event, tag); they count as failed, with your key for why.

        What had no version is the pair that was put.
        """

    def go_in_line(self, seen: HeadCache, /) -> None:
        """Sends under the fences of shards that are lent, one commit at a time in each; before anything is put.

        Heads are then found and kept under `"KEY ACTOR"`, with the key of the fence, and only what `heads` holds is written on;
        `seen` gets them under the actors' own names.
        """

    def wanted(self) -> list[int]:
        """Takes shards in which something waits, to be lent; each is told of once, until it was lent or dropped."""

    def lend(self, shard: int, mark: FenceMark, epoch: int, *, once: bool = False) -> None:
        """Lends the fence of a shard: what waits there goes out under it. `once`: it comes back after one commit.

        Raises:
            ValueError: there is no such shard.
        """

    def recall(self, shard: int | None = None) -> None:
        """Asks for a shard back, as soon as nothing of it is on its way; without a shard, for all of them.

        One that was lent and not used yet is for one commit first, or until `let_go_unsent`; without a shard it goes back now.

        Raises:
            ValueError: there is no such shard.
        """

    def let_go_unsent(self) -> None:
        """Gives shards back that others wait for, where what they were lent for could not be sent by now."""

    def take_back(self, shard: int, /) -> None:
        """Takes the shard of a commit in trouble back; nothing more of it goes out before that is settled.

        Raises:
            ValueError: there is no such shard.
        """

    def returned(self) -> list[int]:
        """Takes shards that are not needed any more, or were asked for; each is told of once."""

    def drop_shard(self, shard: int, key: int = 0, /) -> list[tuple[Event | tuple[str, NewEvent], int]]:
        """Gives back every event of a shard that was not sent yet, as `drop_queued`; the shard was wanted, and cannot be lent.

        Raises:
            ValueError: there is no such shard.
        """

    def copy(self, ticket: int, /) -> tuple[str, int, bytes] | None:
        """Returns a commit in trouble as it was sent, as (subject, guard, body); None: it was not."""

    def found_at(self, ticket: int, position: int, /) -> None:
        """Says that a commit in trouble is stored at this position.

        Raises:
            ValueError: there is no such commit in trouble.
        """

    def mark(self) -> int:
        """Returns a mark behind everything put so far."""

    def is_settled(self, mark: int, /) -> bool:
        """Whether everything put before the mark is settled."""

    def counts(self) -> tuple[int, int, int, int, int, int, int, int, int, int, int]:
        """The numbers of `IngestStats`, in its order."""

    @property
    def queued(self) -> int:
        """How many events wait to be sent."""

    @property
    def reached(self) -> int:
        """The largest position acked."""

# spine

def commit_count(head: Commit, sequence: int, /) -> int:
    """How many commits the actor of this head has.

    Raises:
        DecodeError: the head carries no spine that can be followed.
    """

@final
class SpineWalk:
    """Reaches an actor's earlier commits from its head: says what to fetch next, all at once, from what was fetched so far.

    Args:
        head: the actor's last commit.
        sequence: where it lies.
        from_version: commits that do not reach this version are not fetched.
        first: the ordinal of the first commit wanted; the actor's first has 0.
        end: the ordinal behind the last one wanted; None: all.

    Raises:
        DecodeError: the spine cannot be followed; here and by `feed` and `commits`.
    """

    def __new__(cls, head: Commit, sequence: int, from_version: int = 0, first: int = 0, end: int | None = None) -> Self: ...
    def wanted(self, /) -> list[int]:
        """The sequences to fetch now, all at once, ascending; none when the walk is done."""

    def feed(self, sequence: int, body: bytes, /) -> None:
        """Takes a message's body that was wanted."""

    def commits(self, /) -> list[tuple[int, Commit]]:
        """Ends the walk: the commits with their sequences, oldest first."""

@final
class SpineSearch:
    """Finds the first commit that reaches a version, by fetching a few commits; used as `SpineWalk`.

    Args:
        head: the actor's last commit.
        sequence: where it lies.
        from_version: the version to reach.

    Raises:
        DecodeError: the spine cannot be followed; here and by `feed`.
    """

    def __new__(cls, head: Commit, sequence: int, from_version: int) -> Self: ...
    def wanted(self, /) -> list[int]:
        """The sequences to fetch now, all at once, ascending; none when the search is done."""

    def feed(self, sequence: int, body: bytes, /) -> None:
        """Takes a message's body that was wanted."""

    def found(self, /) -> int:
        """The ordinal of the first commit that reaches the version; the number of commits where none does."""

# filter

@final
class EventFilter:
    """Which events of a namespace a reader wants. What is not given takes everything; what is given must all hold.

    Args:
        actor_id: this actor.
        actor_prefix: actors whose id begins so.
        shards: actors of these shards, 0 to 1020.
        event_types: events of these types.

    Raises:
        InvalidIdError: what cannot be an id, the beginning of one, or a type.
        TypeError: shards that are no ints, types that are no strings, or one string where several are expected.
        ValueError: a shard that there is not.
    """

    def __new__(
        cls,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        shards: Iterable[int] | None = None,
        event_types: Iterable[str] | None = None,
    ) -> Self: ...

# log

@final
class MemoryLog:
    """The in-memory store's index behind a lock; see `InMemoryEventStore`. Safe from many threads.

    Args:
        max_events: how many events it holds at most, and never more than 2**32 - 1; None: that many.
        commit_bytes_max: what one commit may take in bytes.
    """

    def __new__(cls, max_events: int | None = None, commit_bytes_max: int = 1048576) -> Self: ...
    def save_event(self, event: Event, /) -> int:
        """Stores one event as a commit and returns its position."""

    def ingest(self, pending: Pending, iterator: Iterator[Event | tuple[str, NewEvent]], count: int, /) -> tuple[int, bool]:
        """Stores events off the iterator through `pending`, one after another, at most `count`, until one is in trouble.

        Returns how many it took, and whether the iterator came to its end. None taken and no end: there is no room.

        Raises:
            TypeError: an item is neither an `Event` nor an actor id with a `NewEvent`; what the iterator itself raises comes
                through.
        """

    def write(self, pending: Pending, /) -> None:
        """Stores what waits in `pending`; what is refused is in trouble there."""

    def save_events(self, events: Iterable[Event], /) -> int:
        """Stores the events of one actor as one commit and returns its position."""

    def append(
        self, /, actor_id: str, events: NewEvent | Iterable[NewEvent], expected_version: int | None = None
    ) -> tuple[int, int]:
        """Numbers new events, stores them as one commit, and returns the actor's version and the commit's position."""

    def get_events(self, /, actor_id: str, from_version: int, limit: int | None = None) -> list[Event]:
        """The actor's events from `from_version` on, at most `limit`."""

    def position(self, /) -> int:
        """The position of the last commit; 0: there is none."""

    def page(self, /, after: int, through: int, limit: int, filter: EventFilter) -> tuple[list[Event], int]:
        """Events of whole commits in position order, and the position up to which that is everything that `filter` takes.

        There are at most `limit`, unless the first commit alone has more; there may be none though more come behind.
        """

    def placed_page(self, /, after: int, through: int, limit: int, filter: EventFilter) -> tuple[list[Event], list[int], int]:
        """The same page with the position of each of its events: (events, positions, position)."""

    def page_rows(self, /, rows: ArrowRows, after: int, through: int, limit: int, filter: EventFilter) -> int:
        """Copies a page, as `page` would give it, into rows, and returns the position up to which that is everything."""

    def get_latest_version(self, actor_id: str, /) -> int:
        """The actor's latest version; 0: it has no event yet."""

    def save_snapshot(self, snapshot: Snapshot, /) -> None:
        """Keeps the snapshot unless one of a later version is kept."""

    def get_latest_snapshot(self, actor_id: str, /) -> Snapshot | None:
        """The actor's latest snapshot, or None."""

    def counts(self, /) -> tuple[int, int]:
        """Events held, and actors that have any."""

# frames

@final
class FrameReader:
    """Reads what a NATS server sends, chunk by chunk.

    Args:
        inbox: subjects of answers for Python are this and a number; they come under subscription 1.
    """

    def __new__(cls, inbox: str) -> Self: ...
    def feed(self, chunk: bytes, /) -> tuple[list[tuple[int, int, int, str | None, bytes]], list[tuple[str, bytes]], list[int]]:
        """Takes a chunk from the socket; returns the answers and control frames that it completes, and which sinks took any.

        An answer is (token, status, position, subject, body), a control frame (name, text), a sink its subscription's number.

        Raises:
            DecodeError: these bytes are no NATS protocol; the connection is of no use any more.
        """

    def attach(self, sid: int, prefix: str, sink: object) -> None:
        """Leads the answers under a subscription to `sink`; their subjects are `prefix` and a number.

        Raises:
            TypeError: `sink` cannot take answers.
        """

    def attach_messages(self, sid: int, exchange: Exchange) -> None:
        """Leads the messages under a subscription to the mailboxes of `exchange`, by the subjects that they were published to."""

    def detach(self, sid: int) -> None:
        """Ends what `attach` or `attach_messages` began; what still comes is of no more interest."""

def publish_frame(subject: str, reply: str, headers: Sequence[tuple[str, str]], payload: bytes) -> bytes:
    """One message to send. Subject and reply hold no white space, header values no line's end: the caller made them."""

def request_frames(subject: str, inbox: str, first_token: int, payloads: Sequence[bytes]) -> bytes:
    """The requests of one batch to `subject`, with the reply subjects `inbox` + `first_token` and on."""

# replay

@final
class Replay:
    """A read of a namespace's stream in position order: says what to ask, takes what comes, gives out batches of events.

    Args:
        namespace: whose stream it is.
        after: the position behind which to begin.
        through: the last position to read.
        filter: which events are wanted.
    """

    def __new__(cls, namespace: str, after: int, through: int, filter: EventFilter) -> Self: ...
    @property
    def subject(self) -> str | None:
        """The one subject that the server looks for; None: it gives all."""

    @property
    def received(self) -> int:
        """How many answers came so far."""

    def is_done(self, /) -> bool:
        """Whether everything was given out."""

    def is_waiting(self, /) -> bool:
        """Whether answers are to come."""

    def requests(self, /) -> list[tuple[int, bytes, bool]]:
        """Requests to send now, as (token, payload, whether it goes to the consumer); bounded in number and bytes."""

    def pull_start(self, /) -> int | None:
        """The position at which a consumer should begin, if one is worth its making now."""

    def pull(self, /, start: int) -> bool:
        """Pulls what comes next from a consumer that begins at `start`. False: that is not where it goes on any more."""

    def stop_pulling(self, /) -> None:
        """Gives up the consumer: what was pulled and did not come can be asked for otherwise."""

    def accept(self, /, token: int, status: int, position: int, subject: str, body: bytes) -> None:
        """Takes one answer, where they come one by one."""

    def put(self, /, position: int, subject: str, body: bytes) -> bool:
        """Takes a message that the leader gave; a position past the last to read: there is none. False: it comes too late."""

    def step_over(self, /) -> None:
        """Steps over the damaged message that stops the read."""

    def lose(self, /) -> None:
        """Gives up what was asked for and will not be answered; `requests` asks for it again."""

    def stuck(self, /) -> int | None:
        """The position that was asked for and did not come, so that the leader is to be asked; None: there is none."""

    def fault(self, /) -> tuple[int, str | None, Exception | None] | None:
        """What stops the read, once everything before it was given out: (position, actor, error); None: nothing does.

        No error: a commit of the actor names this position, and nothing came from there.
        """

    def disprove(self, /, position: int) -> None:
        """Says that a position without an error is none of the actor's; the read goes on."""

    def take(self, /, limit: int) -> tuple[list[Event], int] | None:
        """A batch, and the position up to which that is everything that is wanted; None: more is to come first.

        Its events are those of whole commits, at most `limit`, unless one commit alone has more.
        """

    def take_placed(self, /, limit: int) -> tuple[list[Event], list[int], int] | None:
        """The same batch with the position of each of its events: (events, positions, position); None: more is to come first."""

    def take_rows(self, /, rows: ArrowRows, limit: int) -> bool:
        """Moves a batch, as `take` would give it, into rows; False: more is to come first."""

# arrow

@final
class ArrowRows:
    """Takes the events of a read, and gives out record batches. Safe from many threads.

    A batch has whole commits, ends with the one that brings it to 32 MiB, and has at most `batch_size` rows unless one commit
    alone has more.

    Args:
        batch_size: how many rows a batch has at most.
    """

    def __new__(cls, batch_size: int, /) -> Self: ...
    def full(self, /) -> ArrowBatch | None:
        """The next batch that is full; None: there is none yet."""

    def rest(self, /) -> ArrowBatch | None:
        """The next batch, full or not; None: nothing is left."""

@final
class ArrowBatch:
    """Events of whole commits as an Arrow record batch: `polars.DataFrame(batch)`, `pyarrow.record_batch(batch)`.

    Its columns: `position`, `actor_id`, `event_type`, `version`, `id`, `timestamp` (ns, UTC), `data` (msgpack, as it is stored),
    `data_json` (null where JSON cannot say it), `metadata_json` (null where there is none).
    """

    def __len__(self) -> int: ...
    @property
    def num_rows(self) -> int:
        """How many events it has."""

    @property
    def position(self) -> int:
        """Everything wanted up to and with this position was read: `store.arrow(after=batch.position)` goes on behind it."""

    @property
    def nbytes(self) -> int:
        """How many bytes its columns take."""

    def __arrow_c_schema__(self, /) -> object:
        """Its columns as an "arrow_schema" capsule."""

    def __arrow_c_array__(self, /, requested_schema: object = None) -> tuple[object, object]:
        """Itself as a pair of capsules, "arrow_schema" and "arrow_array"; another schema cannot be had."""

    def __arrow_c_stream__(self, /, requested_schema: object = None) -> object:
        """Itself as an "arrow_array_stream" capsule of one batch; another schema cannot be had."""

@final
class ArrowTable:
    """Events as Arrow record batches in memory: `polars.DataFrame(table)`, `pyarrow.table(table)`, its name in DuckDB's SQL.

    Its columns are those of `ArrowBatch`.

    Args:
        batches: what it has.

    Raises:
        TypeError: an item that is no `ArrowBatch`.
    """

    def __new__(cls, batches: Iterable[ArrowBatch], /) -> Self: ...
    def __len__(self) -> int: ...
    @property
    def num_rows(self) -> int:
        """How many events it has."""

    @property
    def nbytes(self) -> int:
        """How many bytes its columns take."""

    def __arrow_c_schema__(self, /) -> object:
        """Its columns as an "arrow_schema" capsule."""

    def __arrow_c_stream__(self, /, requested_schema: object = None) -> object:
        """Itself as an "arrow_array_stream" capsule; another schema cannot be had."""

def batch_schema() -> object:
    """The columns of every batch, as `__arrow_c_schema__` gives them."""

def arrow_stream(iterator: Iterator[ArrowBatch], /) -> object:
    """A stream, as an "arrow_array_stream" capsule, that takes each `ArrowBatch` from a Python iterator when it is asked for.

    It may be asked in any thread. What the iterator raises ends the stream, and is its last error, as text.
    """

# mailbox, exchange

@final
class Mailbox:
    """What waits for one subscriber: events in order, and marks where some are missing. Safe from many threads.

    An exchange puts events in. Each is given out, waits, or is counted as missed. A mark stands exactly where something is
    missing, and is raised once as the error that it is. With policy "error" an event that has no room is missed, and a mark
    says so; with "drop_oldest" the oldest events are missed in its place, and only counted; with "block" its publisher waits,
    and where it cannot wait it is missed as with "error". An event that is larger than `max_bytes` is missed in any case.

    Args:
        filter: which events are wanted.
        max_events: how many may wait, 1 or more.
        max_bytes: how many bytes they may have together, 1 or more.
        policy: what to do with an event that has no room: "error", "drop_oldest" or "block".

    Raises:
        ValueError: a bound of 0, or another policy.
    """

    def __new__(cls, filter: EventFilter, max_events: int, max_bytes: int, policy: str) -> Self: ...
    def next(self, /) -> Event | None:
        """The next event; None: there is nothing to give now, or it is time to `rest`, after 256 in a row.

        Raises:
            SubscriptionLaggedError: events are missing here.
            SubscriptionInterruptedError: the connection was interrupted here, and is there again.
            CorruptEventError: a damaged or foreign message came here.
        """

    def rest(self, /) -> None:
        """Begins to count anew how many events came in a row: others had their turn."""

    def take(self, /, limit: int) -> list[Event]:
        """At most `limit` events, up to a mark; empty: there is nothing to give now. A mark that stands first is raised.

        Raises:
            SubscriptionLaggedError: events are missing here.
            SubscriptionInterruptedError: the connection was interrupted here, and is there again.
            CorruptEventError: a damaged or foreign message came here.
        """

    def take_requests(self, /, limit: int) -> list[tuple[Event, str | None]]:
        """The same as `take`, each event with the reply subject where an answer is expected; None: none is.

        Raises:
            SubscriptionLaggedError: events are missing here.
            SubscriptionInterruptedError: the connection was interrupted here, and is there again.
            CorruptEventError: a damaged or foreign message came here.
        """

    def take_with_namespaces(self, /, limit: int) -> list[tuple[str, Event]]:
        """The same as `take`, each event behind its namespace.

        Raises:
            SubscriptionLaggedError: events are missing here.
            SubscriptionInterruptedError: the connection was interrupted here, and is there again.
            CorruptEventError: a damaged or foreign message came here.
        """

    def has_next(self, /) -> bool:
        """Whether `next` and `take` have something to give or to raise now."""

    def has_room(self, /, count: int = 1, bytes: int = 0) -> bool:
        """Whether so many events of so many bytes together have room."""

    def interrupt(self, /, reason: str) -> int:
        """Marks that the connection is interrupted here.

        Nothing behind the mark comes out until `resume` is called with the number that this returns; what comes meanwhile
        waits, within the bounds. Interruptions that touch become one mark, held until each is over.
        """

    def resume(self, /, token: int) -> None:
        """Says that the interruption is over that `interrupt` returned this number for."""

    def close(self, /) -> None:
        """Takes nothing any more; what waits can still be had, and no interruption holds it up."""

    def clear(self, /) -> None:
        """Forgets what waits. It is not counted as missed: nobody wants it any more."""

    def is_ended(self, /) -> bool:
        """Whether it is closed and everything was given out."""

    @property
    def delivered(self) -> int:
        """How many events were given out."""

    @property
    def pending(self) -> int:
        """How many events wait."""

    @property
    def pending_bytes(self) -> int:
        """Their bytes together, as the bound counts them: about what they take in a message."""

    @property
    def missed(self) -> int:
        """How many events had no room."""

    @property
    def damaged(self) -> int:
        """How many damaged or foreign messages came."""

@final
class Exchange:
    """Where events arrive, and the mailboxes that want them: each event goes to every mailbox that takes it, of a group to one.

    Events come from `publish`, from a `FrameReader`, or one by one to `accept`. Safe from many threads.

    Args:
        namespace: whose events they are; None: those of any namespace, and each says its own.
        event_bytes_max: what an event may take as a message, in bytes, where it comes from `publish`; None: no bound.
    """

    def __new__(cls, namespace: str | None, event_bytes_max: int | None = None) -> Self: ...
    def attach(self, /, mailbox: Mailbox, group: str | None = None) -> int:
        """Lets events reach a mailbox; returns its number here.

        Args:
            mailbox: a mailbox that is attached to no exchange.
            group: of the mailboxes with the same group, one gets each event, in turn; None: it is in no group.

        Raises:
            ValueError: the mailbox is attached already.
        """

    def detach(self, /, id: int) -> None:
        """Ends what `attach` began, by the number that it returned; what waits in the mailbox stays there."""

    def __len__(self, /) -> int: ...
    def touched(self, /) -> list[int]:
        """The numbers of the mailboxes that got an event or a mark since this was last called."""

    def publish(self, /, events: list[Event], start: int = 0, reply: str | None = None) -> tuple[int, int | None]:
        """Gives out the events from the index `start` on, in order.

        An event goes to all that want it or to none: it is first looked whether all that must not miss it have room.

        Args:
            events: events of the exchange's namespace.
            start: the index of the first one to give out.
            reply: where an answer is expected.

        Returns:
            The index of the first event that was not given out, and the number of the mailbox with policy "block" that has no
            room for it, or None where the event is too large; when all were, the events' count and None.

        Raises:
            CommitTooLargeError: the first of these events is larger than `event_bytes_max`. One behind it ends what is given out.
            TypeError: an item that is no `Event`; nothing was given out.
            ValueError: the exchange is of any namespace, so that nobody can say whose events these are.
        """

    def takers(self, /, event: Event) -> int:
        """How many mailboxes would get an event, those of a group counted as one."""

    def accept(self, /, subject: str, reply: str, body: bytes) -> None:
        """Takes a message of a server's subscription, where they come one by one.

        Args:
            subject: where it was published.
            reply: where an answer is expected; empty: nowhere.
            body: what `bus_body` made.
        """

# records

@final
class Records:
    """The records of a chunk of NDJSON, on their way into a pipeline: `while records.read(): ...; records.pour(pending)`.

    `read` and `odd` are for a pipeline; or iterate: a record is (number, actor id, event, version, size); a line that is none, or
    is written in a rare way, is (number, line), for `parse_record` to judge.

    Args:
        content: the lines.
        number: the first one's number.
        commit_bytes_max: the largest commit that the store takes, in bytes.
    """

    def __new__(cls, content: bytes, number: int, commit_bytes_max: int, /) -> Self: ...
    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[int, str, NewEvent, int | None, int] | tuple[int, bytes]: ...
    def __len__(self) -> int: ...
    @property
    def number(self) -> int:
        """The number of the last line that was read; 0: none was."""

    @property
    def first(self) -> int | None:
        """The number of the first record that was read and not poured; None: there is none."""

    def read(self) -> bool:
        """Reads on, up to the next line that has to be judged (see `odd`) or the end; False: there was nothing left."""

    def odd(self) -> tuple[int, bytes] | None:
        """The line that `read` stopped at, with its number, once; None: it stopped at the end."""

    def add(self, number: int, actor_id: str, event: NewEvent, version: int | None, /) -> None:
        """Adds a record that was judged by itself.

        Raises:
            InvalidIdError: `actor_id` is none.
        """

    def pour(self, pending: Pending, /) -> int:
        """Puts into a pipeline what there is room for, its numbers as tags; returns how many events that were."""

def format_records(events: list[Event], start: int, /) -> tuple[bytes, int]:
    """Lines of events from the index `start` on, and the index of the first one that is not among them.

    They are what `aether.ingest.records.format_record` makes, each with its end. Where none is made, that one has to: data that
    JSON cannot say, floats that are very large or very small.

    Args:
        events: the events.
        start: the index of the first one.

    Raises:
        TypeError: an item that is no `Event`.
    """

def payload_json(payload: bytes, /) -> bytes | None:
    """Data as JSON from which equal data is read, as `aether.ingest.records.json_data` makes it; None: that has to say."""

def read_record(line: bytes, commit_bytes_max: int, /) -> tuple[str, NewEvent, int | None, int] | None:
    """Reads one line as `aether.ingest.records.parse_record` would: (actor id, event, version, size).

    None: it is no record, or written in a rare way; `parse_record` says which.
    """

# bus_message, tally

def publish_events(namespace: str, events: list[Event], start: int, max_payload: int, bytes_max: int) -> tuple[bytes, int]:
    """Frames for the events from the index `start` on, and the index of the first one that is not among them.

    Args:
        namespace: whose events they are; taken as it is.
        events: the events.
        start: the index of the first one.
        max_payload: how many bytes a message may have.
        bytes_max: after how many bytes of frames to stop; one event is made in any case.

    Raises:
        CommitTooLargeError: the first event does not fit a message. One behind it ends the frames before it.
        TypeError: an item that is no `Event`.
    """

def bus_body(event: Event, /) -> bytes:
    """The body of an event's message on a bus."""

def bus_subject(namespace: str, event: Event, /) -> str:
    """The subject of an event on a bus: `aether-bus.<namespace>.<actor token>.<type token>`. The namespace is taken as it is."""

def encode_reply(payload: bytes, /) -> bytes:
    """The body of a request's reply with a value.

    Raises:
        DecodeError: `payload` is not exactly one msgpack value.
    """

def encode_error(text: str, /) -> bytes:
    """The body of a request's reply that says why there is no value; of a text of more than 8,192 bytes the beginning."""

def decode_reply(body: bytes, /) -> tuple[Any, str | None]:
    """The value of a reply's body, or why there is none: one of the two is None.

    Raises:
        DecodeError: these bytes are no reply.
    """

@final
class Tally:
    """A sink of answers that only remembers which came, by their tokens; the first 65,536 of them. Safe from many threads."""

    def __new__(cls) -> Self: ...
    def accept(self, /, token: int, status: int, position: int, subject: str, body: bytes) -> None:
        """Takes one answer, where they come one by one."""

    def seen(self, /) -> set[int]:
        """The tokens that came so far."""

    def has(self, /, token: int) -> bool:
        """Whether this token came."""
