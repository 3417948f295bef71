"""The coordination stream of a namespace: leases that expire by themselves, and the table of shards.

One message for each subject, the last one. A lease carries `Nats-TTL`; when it expires, the server stores a marker, an empty
message on the same subject, so that whoever watches hears of it at once. The next guarded write must name the marker's position.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from nats.js.api import DiscardPolicy, RetentionPolicy, StorageType, StreamConfig

from aether.errors import NamespaceMismatchError, UnsupportedServerError
from aether.nats.stream_log import StreamLog
from aether.nats.streams import find_stream, limit_of, open_stream
from aether.nats.subjects import coordination_filter, coordination_stream, events_stream

if TYPE_CHECKING:
    from aether.nats.connection import Connection
    from aether.nats.messages import Published

__all__ = ["Coordination", "Entry"]

MARKER_TTL_S = 10
"""How long the server keeps the marker of an expired lease."""

GAP = 1_000_000_000
"""How far behind the last known position a stream begins that is made again: further than anybody can have written since. A
candidate of a group without a leader may have heard of no position for hours."""

MUST_EQUAL = (
    "subjects",
    "retention",
    "discard",
    "max_msgs_per_subject",
    "allow_direct",
    "allow_msg_ttl",
    "subject_delete_marker_ttl",
)
LIMITS = ("max_msgs", "max_bytes", "max_age", "max_msg_size")
"""What must be without a limit: the oldest message, which would be dropped, is who owns what."""


class Entry(NamedTuple):
    """The last message of a coordination subject.

    Attributes:
        subject: the subject.
        position: its place in the stream, which the next guarded write must name.
        body: its bytes; nothing of ours is ever empty.
        marker: the server's word that what was here has expired, or was purged.
    """

    subject: str
    position: int
    body: bytes
    marker: bool


class Coordination:
    """A namespace's coordination stream, read from its leader and written under guards.

    Args:
        connection: the connection, which the caller opens and ends.
        namespace: the namespace.
        timeout_s: what a call may take, in seconds, for errors.
    """

    def __init__(self, connection: Connection, namespace: str, timeout_s: float) -> None:
        self.connection, self.namespace = connection, namespace
        self.stream = coordination_stream(namespace)
        self._timeout_s = timeout_s
        self._log = StreamLog(connection, self.stream, timeout_s)
        self._replicas: int | None = None

    def check_payload(self, who: str, least: int) -> None:
        """Check, once connected, that the server takes messages of at least so many bytes.

        Raises:
            UnsupportedServerError: it does not.
        """
        limit = self.connection.max_payload
        if limit < least:
            reason = f"its max_payload is {limit:,} bytes, and {who} needs at least {least:,}"
            raise UnsupportedServerError(self.connection.url, f"{reason}; raise max_payload in the server's configuration")

    async def open(self, deadline: float, *, replicas: int | None = None) -> None:
        """Make the stream where it is missing, check it where it is there.

        Args:
            deadline: on the loop's clock, in seconds.
            replicas: how many servers shall hold it; None: as many as hold the namespace's events, 1 where there are none.

        Raises:
            NamespaceMismatchError: the stream exists with other settings.
            UnsupportedServerError: JetStream is off.
            ServerUnavailableError: no server answers by the deadline.
        """
        self._replicas = replicas
        await self._open(deadline)

    async def restore(self, reached: int, deadline: float) -> None:
        """Make the stream again that was deleted while it was in use, if nobody else has by now; errors as `open`.

        Args:
            reached: the last position that is known of it; the new one's lie far behind.
            deadline: on the loop's clock, in seconds.
        """
        await self._open(deadline, first_seq=reached + GAP)

    async def _open(self, deadline: float, *, first_seq: int | None = None) -> None:
        replicas = self._replicas
        wanted = StreamConfig(
            name=self.stream,
            description=f"Leases and shards of Aether's namespace {self.namespace}",
            subjects=[coordination_filter(self.namespace)],
            retention=RetentionPolicy.LIMITS,
            discard=DiscardPolicy.OLD,
            max_msgs_per_subject=1,
            allow_direct=True,
            allow_msg_ttl=True,
            allow_rollup_hdrs=True,  # markers need it
            subject_delete_marker_ttl=MARKER_TTL_S,
            storage=StorageType.FILE,
            num_replicas=replicas or await self._replicas_of_events(deadline),
            first_seq=first_seq,
        )
        found = (await open_stream(self.connection, wanted, deadline, self._timeout_s)).config
        names = MUST_EQUAL if replicas is None else (*MUST_EQUAL, "num_replicas")
        differences = tuple(
            f"{self.stream}: {name} is {getattr(found, name)}, not {getattr(wanted, name)}"
            for name in names
            if getattr(found, name) != getattr(wanted, name)
        ) + tuple(
            f"{self.stream}: {name} is {limit_of(found, name):g}, and must be without a limit (-1)"
            for name in LIMITS
            if limit_of(found, name) != -1
        )
        if differences:
            raise NamespaceMismatchError(self.namespace, differences)

    async def _replicas_of_events(self, deadline: float) -> int:
        stream, what = events_stream(self.namespace), f"looking for the namespace {self.namespace}"
        found = await find_stream(self.connection, stream, what, deadline, self._timeout_s)
        return 1 if found is None else found.config.num_replicas or 1

    async def write(self, subject: str, body: bytes, guard: int, deadline: float, *, ttl_s: int = 0) -> Published:
        """Write under the guard that the subject's last message is at `guard` (0: none); one attempt.

        Args:
            subject: one of the namespace's coordination subjects.
            body: the bytes, at least one.
            guard: a position.
            deadline: on the loop's clock, in seconds.
            ttl_s: when the server drops it, in whole seconds from when it stores it; 0: it stays.

        Raises:
            UnansweredError: sent, and nobody knows what became of it.
            NoRespondersError: no stream heard it; nothing was stored.
            ServerUnavailableError: there is no connection by the deadline; nothing was stored.
        """
        return await self._log.publish(subject, body, guard, deadline, ttl_s=ttl_s)

    async def read(self, subject: str, deadline: float) -> Entry | None:
        """Return the subject's last message, from the leader; None where it has none.

        Behind a partition a deposed leader may answer what is no longer true; a guarded write decides.

        Raises:
            DeadlineError: no answer by the deadline.
            ServerUnavailableError: no connection, or nobody who answers, by the deadline.
        """
        message = await self._log.last(subject, deadline)
        return None if message is None else Entry(message.subject, message.position, message.body, not message.body)

    def until(self, seconds: float) -> float:
        """Return the deadline that lies `seconds` from now."""
        return asyncio.get_running_loop().time() + seconds
