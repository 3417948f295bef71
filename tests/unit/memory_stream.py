"""A stream in memory behind the transport's seam: it answers the requests that reading makes, and counts them."""

from __future__ import annotations

import base64
import json
import zlib
from typing import TYPE_CHECKING, Any

import msgpack

from aether import Event
from aether._native import Head, actor_subject, encode_commit
from aether.nats.messages import Message
from aether.nats.stream_log import StreamLog
from aether.nats.transport import Reply

if TYPE_CHECKING:
    from collections.abc import Sequence

STREAM = "AETHER-EVENTS-n"
NAMESPACE = "n"


def sealed(commit: dict[str, Any]) -> bytes:
    """A commit's bytes with its checksum, made with nothing but msgpack and zlib, as a foreign writer makes them."""
    body = msgpack.packb({**commit, "crc": 0})[: -len(msgpack.packb("crc") + msgpack.packb(0))]
    return body + msgpack.packb("crc") + b"\xce" + zlib.crc32(body).to_bytes(4, "big")


class MemoryStream:
    """Messages by position, and a transport and a connection to read them.

    Attributes:
        rounds: how often something was asked for and waited for, each time for one message or many.
        asked: how many messages were asked for by position.
        largest_round: the most bytes that one round brought.
        lagging: positions that replicas do not have yet; only the leader does.
    """

    url = "memory:"
    name = "memory"

    def __init__(self) -> None:
        self.messages: dict[int, Message] = {}
        self.position = 0
        self.rounds = self.asked = self.largest_round = 0
        self.lagging: set[int] = set()
        self.log = StreamLog(self, STREAM, timeout_s=60)  # type: ignore[arg-type]  # all that is used of a connection

    # What is in it.

    def put(self, subject: str, body: bytes) -> int:
        """Store a message, behind one of somebody else."""
        self.position += 2
        self.messages[self.position - 1] = Message(self.position - 1, "aether.n.1.other", b"other")
        self.messages[self.position] = Message(self.position, subject, body)
        return self.position

    def commit(self, actor_id: str, versions: Sequence[int], head: Head, data: object = None) -> Head:
        """Store a commit on top of `head`; return the head that it makes."""
        events = [Event(actor_id, "t", version, data, id=f"{actor_id}-{version}") for version in versions]
        body = encode_commit(actor_id, events, head, header_bytes=0, bytes_max=2**21)
        return head.after(versions[-1], self.put(actor_subject(NAMESPACE, actor_id), body))

    def fill(self, actor_id: str, commits: int, data: object = None) -> Head:
        """Store this many commits of one event."""
        head = Head()
        for version in range(1, commits + 1):
            head = self.commit(actor_id, [version], head, data)
        return head

    def rewrite(self, position: int, **changes: object) -> None:
        """Write the commit at `position` anew with these keys changed, None to leave one out, and a true checksum."""
        message = self.messages[position]
        commit = {**msgpack.unpackb(message.body), **changes}
        del commit["crc"]
        body = sealed({key: value for key, value in commit.items() if value is not None})
        self.messages[position] = Message(position, message.subject, body)

    # A connection and a transport, as far as reading needs them.

    async def ready(self, _: float) -> MemoryStream:
        """Be the transport."""
        return self

    async def request(self, subject: str, payload: bytes, deadline: float, headers: object = None) -> Reply:
        """Answer as the leader."""
        self.rounds += 1
        asked = json.loads(payload)
        wanted = asked.get("last_by_subj") or asked.get("next_by_subj")
        found = [message for message in self.messages.values() if wanted in (None, message.subject)]
        if "last_by_subj" not in asked:
            found = [message for message in found if message.position >= asked["seq"]]
            found = found if wanted else [message for message in found if message.position == asked["seq"]]
        if not found:
            return Reply(0, 0, None, b'{"error":{"code":404,"err_code":10037,"description":"no message found"}}')
        message = found[-1 if "last_by_subj" in asked else 0]
        got = {"subject": message.subject, "seq": message.position, "data": base64.b64encode(message.body).decode()}
        return Reply(0, 0, None, json.dumps({"message": got}).encode())

    async def request_each(self, subject: str, payloads: Sequence[bytes], deadline: float) -> list[Reply]:
        """Answer as a replica."""
        self.rounds += 1
        self.asked += len(payloads)
        replies = [self._direct(json.loads(payload)["seq"]) for payload in payloads]
        self.largest_round = max(self.largest_round, sum(len(reply.data) for reply in replies))
        return replies

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Answer a scan, in small batches."""
        self.rounds += 1
        asked = json.loads(payload)
        found = [
            position
            for position, message in self.messages.items()
            if position >= asked["seq"] and message.subject == asked["next_by_subj"] and position not in self.lagging
        ]
        return [*(self._direct(position) for position in found[:3]), Reply(204, 0, None, b"")]

    def _direct(self, position: int) -> Reply:
        if position in self.lagging or position not in self.messages:
            return Reply(404, 0, None, b"")
        message = self.messages[position]
        return Reply(0, position, message.subject, message.body)
