"""An audit of a namespace that trusts nothing of Aether's: a dump by nats-py, read by msgspec's msgpack, checked by zlib.

It is what anybody could write who knows the commit format, and it is compared with a record of what was acknowledged.
"""

from __future__ import annotations

import uuid
import zlib
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import msgspec
import nats
from nats.js.api import AckPolicy, ConsumerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from nats.aio.client import Client

__all__ = [
    "EPOCH",
    "Audit",
    "Findings",
    "Raw",
    "Stored",
    "checked",
    "compare",
    "count_messages",
    "dump",
    "read_message",
    "read_stream",
]

CRC_KEY = b"\xa3crc\xce"
"""How the last key of a commit starts: a text of three characters, then a 32-bit number."""
CRC_BYTES = 4
EPOCH = "=epoch"
"""The last token of the subjects on which records of epochs lie."""

FETCH_MESSAGES = 500
FETCH_TIMEOUT_S = 5.0
EXAMPLES_SHOWN = 5


class Raw(NamedTuple):
    """A message as it lies in the stream."""

    position: int
    subject: str
    body: bytes


class Stored(NamedTuple):
    """An event as it should be, or is, in the stream.

    Attributes:
        actor_id: whose it is.
        version: its version.
        event_type: its type.
        time_ns: its time, in nanoseconds since 1970.
        data: its data.
    """

    actor_id: str
    version: int
    event_type: str
    time_ns: int
    data: Any


class Dump(NamedTuple):
    """What lies in a stream.

    Attributes:
        events: each event with its id and position, in the stream's order.
        unreadable: the positions of messages that are no sound commits, and no sound records of epochs.
        messages: how many messages there are.
        epochs: of each shard that ever had an owner, the epoch that it came to last.
        deposed: the positions of commits that do not name the epoch that their shard was in.
    """

    events: list[tuple[int, str, Stored]]
    unreadable: list[int]
    messages: int
    epochs: dict[str, int]
    deposed: list[int]

    @classmethod
    def of(cls, messages: int) -> Dump:
        """Return a dump that nothing was read into yet."""
        return cls([], [], messages, {}, [])


class Findings:
    """Counts of what should not be, each a field of its own.

    Attributes:
        kinds: the fields' names.
        examples: the first findings, in words.
    """

    kinds: ClassVar[tuple[str, ...]]
    examples: list[str]

    @property
    def differences(self) -> dict[str, int]:
        """How often each kind of difference was found."""
        return {kind: getattr(self, kind) for kind in self.kinds}

    @property
    def verified(self) -> bool:
        """Whether there is no difference at all."""
        return not any(self.differences.values())

    def note(self, kind: str, what: str) -> None:
        """Count a difference."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(self.examples) < EXAMPLES_SHOWN:
            self.examples.append(f"{kind.replace('_', ' ')}: {what}")


@dataclass
class Audit(Findings):
    """What a comparison has found; everything but the first three counts differences.

    Attributes:
        acked: events acknowledged.
        stored: events in the stream.
        messages: messages in the stream.
        missing: acknowledged, and not in the stream.
        twice: in the stream more than once.
        elsewhere: not at the position that was acknowledged.
        altered: with another actor, version, type, time or data.
        never_acked: in the stream, and never acknowledged.
        unreadable: messages that are no commits.
        deposed: commits of a shard that another than its owner of that time has written.
        examples: the first differences, in words.
    """

    acked: int = 0
    stored: int = 0
    messages: int = 0
    missing: int = 0
    twice: int = 0
    elsewhere: int = 0
    altered: int = 0
    never_acked: int = 0
    unreadable: int = 0
    deposed: int = 0
    examples: list[str] = field(default_factory=list)

    kinds = ("missing", "twice", "elsewhere", "altered", "never_acked", "unreadable", "deposed")


async def count_messages(url: str, namespace: str) -> int:
    """Return how many messages a namespace's stream holds."""
    client = await nats.connect(url, allow_reconnect=False)
    try:
        return await _count(client, _stream(namespace))
    finally:
        await client.close()


async def dump(url: str, namespace: str) -> Dump:
    """Read a namespace's whole stream."""
    taken, count = Dump.of(0), 0
    async with aclosing(read_stream(url, namespace)) as parts:
        async for part in parts:
            count += len(part)
            for message in part:
                read_message(taken, *message)
    return taken._replace(messages=count)


async def read_stream(url: str, namespace: str) -> AsyncGenerator[list[Raw]]:
    """Yield the messages of a namespace's whole stream, in its order and in parts."""
    client = await nats.connect(url.split(","), allow_reconnect=False)
    try:
        left = await _count(client, _stream(namespace))
        config = ConsumerConfig(ack_policy=AckPolicy.NONE, mem_storage=True)
        pull = await client.jetstream().pull_subscribe("", stream=_stream(namespace), config=config)
        while left:
            messages = await pull.fetch(min(FETCH_MESSAGES, left), timeout=FETCH_TIMEOUT_S)
            left -= len(messages)
            yield [Raw(message.metadata.sequence.stream, message.subject, message.data) for message in messages]
    finally:
        await client.close()


def compare(acked: Mapping[str, tuple[int, Stored]], taken: Dump) -> Audit:
    """Compare what was acknowledged with what is there.

    Args:
        acked: for each event id, the acknowledged position, and the event as it was meant.
        taken: the dump.
    """
    audit = Audit(acked=len(acked), stored=len(taken.events), messages=taken.messages)
    for position in taken.unreadable:
        audit.note("unreadable", f"message {position}")
    for position in taken.deposed:
        audit.note("deposed", f"message {position}")
    seen: set[str] = set()
    for position, event_id, stored in taken.events:
        if event_id in seen:
            audit.note("twice", f"event {event_id} at {position}")
            continue
        seen.add(event_id)
        expected = acked.get(event_id)
        if expected is None:
            audit.note("never_acked", f"event {event_id} at {position}")
            continue
        if position != expected[0]:
            audit.note("elsewhere", f"event {event_id} at {position}, acknowledged at {expected[0]}")
        if stored != expected[1]:
            audit.note("altered", f"event {event_id} at {position} is {stored}, not {expected[1]}")
    for event_id in acked.keys() - seen:
        audit.note("missing", f"event {event_id}, acknowledged at {acked[event_id][0]}")
    return audit


def read_message(taken: Dump, position: int, subject: str, body: bytes) -> None:
    """Add what one message holds to the dump, read as docs/format.md describes a commit and the record of an epoch."""
    shard, token = subject.split(".")[-2:]
    fields = checked(body) or {}
    try:
        if token == EPOCH:
            _ = fields["node"], fields["incarnation"]
            taken.epochs[shard] = position
            return
        events = [(position, _id(event["id"]), _stored(fields["actor"], event)) for event in fields["events"]]
    except (KeyError, TypeError, ValueError):
        taken.unreadable.append(position)
    else:
        taken.events.extend(events)
        if fields.get("epoch") != taken.epochs.get(shard):
            taken.deposed.append(position)


def checked(body: bytes) -> dict[str, Any] | None:
    """Return the map that a message holds, if its checksum fits; None: it holds none."""
    protected, _, checksum = body.rpartition(CRC_KEY)
    if len(checksum) != CRC_BYTES or zlib.crc32(protected) != int.from_bytes(checksum, "big"):
        return None
    try:
        held = msgspec.msgpack.decode(body)
    except (msgspec.DecodeError, ValueError):
        return None
    return held if isinstance(held, dict) else None


def _stored(actor_id: str, event: dict[str, Any]) -> Stored:
    return Stored(actor_id, event["version"], event["type"], event["time"], event["data"])


def _id(raw: bytes | str) -> str:
    return raw if isinstance(raw, str) else str(uuid.UUID(bytes=raw))


def _stream(namespace: str) -> str:
    # Written here, not taken from Aether: an auditor knows the format, not the program.
    return f"AETHER-EVENTS-{namespace}"


async def _count(client: Client, stream: str) -> int:
    return (await client.jetstream().stream_info(stream)).state.messages
