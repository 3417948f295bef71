"""What really lies in a stream, read with the stock client and msgpack, and what a foreign writer can put there."""

from __future__ import annotations

import asyncio
import base64
import json
import uuid
import zlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import msgpack
import nats
from nats.js.api import AckPolicy, ConsumerConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from nats.aio.client import Client

AT_ONCE = 200
FETCH = 1_000
DEADLINE_S = 30.0
READER_S = 300.0
"""For so long the server keeps a reader that asks for nothing: its loop may judge another namespace's messages meanwhile."""


class Stored(NamedTuple):
    """A stored message.

    Attributes:
        position: its stream sequence.
        subject: its subject.
        body: its bytes.
    """

    position: int
    subject: str
    body: bytes

    @property
    def is_epoch(self) -> bool:
        """Whether it is the record of a shard's epoch, and no commit."""
        return self.subject.endswith(".=epoch")

    @property
    def commit(self) -> dict[str, Any]:
        """The body's msgpack map."""
        commit: dict[str, Any] = msgpack.unpackb(self.body)
        return commit

    @property
    def versions(self) -> list[int]:
        """The versions of its events."""
        return [event["version"] for event in self.commit["events"]]

    @property
    def ids(self) -> list[str]:
        """The ids of its events, as text."""
        return [_text(event["id"]) for event in self.commit["events"]]


def _text(event_id: str | bytes) -> str:
    return event_id if isinstance(event_id, str) else str(uuid.UUID(bytes=event_id))


@asynccontextmanager
async def stock_client(url: str | Sequence[str], **options: Any) -> AsyncIterator[Client]:
    """A plain nats-py client."""
    client = await nats.connect(list(url) if not isinstance(url, str) else url, **options)
    try:
        yield client
    finally:
        await client.close()


async def api(client: Client, call: str, **arguments: object) -> dict[str, Any]:
    """Ask JetStream's API, as its documentation writes it."""
    payload = json.dumps(arguments).encode() if arguments else b""
    answer: dict[str, Any] = json.loads((await client.request(f"$JS.API.{call}", payload, timeout=5)).data)
    return answer


async def dump(url: str | Sequence[str], namespace: str, stream: str = "EVENTS") -> list[Stored]:
    """Every message of the namespace's stream, from its leader."""
    name = f"AETHER-{stream}-{namespace}"
    async with stock_client(url) as client:
        state = (await api(client, f"STREAM.INFO.{name}"))["state"]
        stored: list[Stored] = []
        for start in range(1, state["last_seq"] + 1, AT_ONCE):
            asked = range(start, min(start + AT_ONCE, state["last_seq"] + 1))
            answers = await asyncio.gather(*(api(client, f"STREAM.MSG.GET.{name}", seq=position) for position in asked))
            for position, answer in zip(asked, answers, strict=True):
                message = answer["message"]
                assert message["seq"] == position
                stored.append(Stored(position, message["subject"], base64.b64decode(message.get("data", ""))))
        return stored


async def dump_fast(url: str | Sequence[str], namespace: str) -> list[Stored]:
    """Every message of the namespace's events, through a consumer: for streams of many thousands."""
    name = f"AETHER-EVENTS-{namespace}"
    async with stock_client(url) as client:
        last: int = (await api(client, f"STREAM.INFO.{name}"))["state"]["last_seq"]
        no_acks = ConsumerConfig(ack_policy=AckPolicy.NONE, inactive_threshold=READER_S)
        consumer = await client.jetstream(timeout=DEADLINE_S).pull_subscribe("", stream=name, config=no_acks)
        stored: list[Stored] = []
        while len(stored) < last:
            fetched = await consumer.fetch(min(FETCH, last - len(stored)), timeout=DEADLINE_S)
            stored += [Stored(message.metadata.sequence.stream, message.subject, message.data) for message in fetched]
        assert [message.position for message in stored] == list(range(1, last + 1))
        return stored


def events_of(stored: Sequence[Stored], actor_id: str) -> list[tuple[int, str]]:
    """One actor's versions and event ids, in the order of the stream."""
    return [
        (version, event_id)
        for message in stored
        if not message.is_epoch and message.commit["actor"] == actor_id
        for version, event_id in zip(message.versions, message.ids, strict=True)
    ]


def sealed(commit: dict[str, Any]) -> bytes:
    """A commit's bytes with its checksum, made with nothing but msgpack and zlib."""
    body = msgpack.packb({**commit, "crc": 0})[: -len(msgpack.packb("crc") + msgpack.packb(0))]
    return body + msgpack.packb("crc") + b"\xce" + zlib.crc32(body).to_bytes(4, "big")


def crafted(actor_id: str, versions: Sequence[int], spine: object, **more: object) -> bytes:
    """A commit as a foreign program would write it."""
    events = [
        {"id": f"{actor_id}-{version}-{uuid.uuid4()}", "type": "t", "version": version, "time": version, "data": None, "meta": {}}
        for version in versions
    ]
    commit = {"format": 1, "actor": actor_id, "events": events, "spine": spine, **more}
    return sealed({key: value for key, value in commit.items() if value is not None})
