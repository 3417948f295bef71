"""One stream as a log of messages by subject and position: what JetStream is asked, and what its answers mean.

Two ways to read, with different promises. The leader (`last`, `next`) reads your own writes; a message at a position never
changes, so `at` takes it from any replica and asks the leader only where a replica does not have it yet.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

import msgspec

from aether.errors import AetherError, CorruptEventError, DeadlineError, ServerUnavailableError
from aether.nats.api_answers import ApiError, ack_in, found_in, got_in, info_in, is_none
from aether.nats.errors import ALL_SENT, CONFLICT, NO_MESSAGE, TRY_AGAIN, NoRespondersError, UnansweredError, api_error
from aether.nats.messages import GONE, Message, Newest, Published, Subjects
from aether.nats.pauses import pause
from aether.nats.stream_feed import StreamFeed
from aether.nats.transport import GUARD, GUARD_SUBJECT, TTL, header_bytes

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from aether._native import Replay
    from aether.nats.api_answers import Got, Info
    from aether.nats.connection import Connection
    from aether.nats.transport import Reply, Transport

__all__ = ["StreamLog", "guard_bytes"]

T = TypeVar("T")


ATTEMPT_S_MIN = 0.25
FETCH_BYTES = 8 * 2**20
"""What is asked for at once, so that answers take bounded memory whatever the size of a message."""
FETCH_MIN, FETCH_MAX = 8, 512
SCAN_BATCH = 256


def guard_bytes(guard: int, guarded: str | None = None) -> int:
    """Return how many bytes the headers of a publish under this guard take; see `StreamLog.publish`."""
    return header_bytes([*_guard(guard, guarded).items()])


def _guard(guard: int, guarded: str | None) -> dict[str, str]:
    return {GUARD: str(guard)} if guarded is None else {GUARD: str(guard), GUARD_SUBJECT: guarded}


class StreamLog:
    """One stream, read and written over a connection.

    Args:
        connection: the connection; it is opened where it is not open yet.
        stream: the stream's name.
        timeout_s: what each call of the store is allowed, in seconds: an attempt gets a quarter, so that what is lost can be
            asked again before the deadline.
    """

    def __init__(self, connection: Connection, stream: str, timeout_s: float) -> None:
        self._connection = connection
        self.stream = stream
        self.timeout_s = timeout_s
        self._attempt_s = max(ATTEMPT_S_MIN, timeout_s / 4)
        self._get = f"$JS.API.STREAM.MSG.GET.{stream}"
        self._info = f"$JS.API.STREAM.INFO.{stream}"
        self._direct = f"$JS.API.DIRECT.GET.{stream}"
        self.reached = 0
        """How far the stream is known to reach, by what was acked and read: what is stored later lies behind it."""
        self.scans = 0
        """How many scans were made since the start: each is a fallback that the spine should have spared."""

    async def publish(
        self, subject: str, body: bytes, guard: int, deadline: float, guarded: str | None = None, *, ttl_s: int = 0
    ) -> Published:
        """Publish under the guard that the last message on `guarded` is at `guard` (0: none); one attempt.

        Args:
            subject: where to.
            body: what.
            guard: the position of the last message.
            deadline: on the loop's clock, in seconds.
            guarded: the subject that the guard speaks of, wildcards allowed; None: `subject`. All who write under it must name
                it in the very same way: on several replicas the server compares what is in flight by that text.
            ttl_s: the server drops the message when it is that old, in whole seconds; 0: it stays.

        Raises:
            UnansweredError: sent, and nobody knows what became of it.
            NoRespondersError: no stream heard it, nothing was stored.
            StoreFullError: a limit of stream, account or disk; nothing was stored.
        """
        transport = await self._connection.ready(deadline)
        headers = _guard(guard, guarded) | ({TTL: str(ttl_s)} if ttl_s else {})
        reply = await transport.request(subject, body, self._attempt(deadline), headers)
        ack = ack_in(reply.data)
        if ack.error is None:
            if ack.stream != self.stream or ack.seq <= guard:
                raise AetherError(f"{subject}: acked by stream {ack.stream!r} at {ack.seq}, but it belongs to {self.stream}")
            self.reached = max(self.reached, ack.seq)
            return Published(ack.seq, refused=False)
        if ack.error.err_code in CONFLICT:
            return Published(0, refused=True)
        if ack.error.err_code in TRY_AGAIN:
            raise NoRespondersError(ack.error.description)
        raise self._error(ack.error)

    async def last(self, subject: str, deadline: float) -> Message | None:
        """Return the subject's last message, from the leader; None where it has none.

        Raises:
            CorruptEventError: the server does not find it, though it finds others on the subject: its disk is damaged.
        """
        asked: dict[str, object] = {"last_by_subj": subject}
        latest = await self._leader(asked, deadline)
        if latest is not None:
            return latest
        # A server whose last message on a subject was damaged on its disk says the same as for a subject that never was.
        first = await self.next(subject, 1, deadline)
        if first is None:
            return None
        latest = await self._leader(asked, deadline)
        if latest is None:
            raise CorruptEventError(
                self.stream, first.position, None, f"the server has lost the last message on {subject}; {GONE}"
            )
        return latest

    async def last_position(self, deadline: float) -> int:
        """Return the position of the last message, from the leader; 0: there is none yet.

        A leader that was deposed behind a partition, or has just begun, may know less than this log has seen: it is asked
        again.
        """
        attempt = 0
        while True:
            info = await self._ask("a read", self._told, deadline)
            if info.state is not None and info.state.last_seq >= self.reached:
                self.reached = info.state.last_seq
                return info.state.last_seq
            if info.error is not None and info.error.err_code not in TRY_AGAIN:
                raise self._error(info.error)
            attempt += 1
            try:
                await pause(attempt, deadline, f"reading {self.stream} up to position {self.reached}", self.timeout_s)
            except DeadlineError:
                self.reached = 0  # should the stream have been made anew, the next call starts without it
                raise

    async def subjects(self, matching: str, deadline: float) -> Subjects:
        """Return the subjects that match a filter, from the leader; it names 100,000 at most.

        A leader that was deposed behind a partition may know less than was written: who needs to know that it does not compares
        `reached` with what must be in it. (The server takes the stream's state first, and its subjects after that.)
        """
        payload = msgspec.json.encode({"subjects_filter": matching})
        attempt = 0
        while True:
            info = await self._ask("a read", lambda transport, until: self._told(transport, until, payload), deadline)
            if info.state is not None:
                names = list(info.state.subjects or ())
                return Subjects(names, info.state.last_seq, info.total <= len(names))
            if info.error is not None and info.error.err_code not in TRY_AGAIN:
                raise self._error(info.error)
            attempt += 1
            await pause(attempt, deadline, f"listing subjects of {self.stream}", self.timeout_s)

    async def get(self, position: int, deadline: float) -> Message | None:
        """Return the message at this position, from the leader; None where it has none."""
        return await self._leader({"seq": position}, deadline)

    def feed(self, sink: Replay) -> StreamFeed:
        """Lead the answers to what `sink` asks for to it, from any replica."""
        return StreamFeed(self._connection, self.stream, sink, self._attempt_s)

    async def last_each(self, subjects: Sequence[str], deadline: float) -> list[Message | None]:
        """Return each subject's last message, from the leader, asked for at once; None: it has none, or that is not sure."""
        payloads = [msgspec.json.encode({"last_by_subj": subject}) for subject in subjects]
        replies = await self._ask("a read", lambda transport, until: transport.request_each(self._get, payloads, until), deadline)
        found = [found_in(reply.data) for reply in replies]
        return [None if message is None else Message(message.seq, message.subject, message.data) for message in found]

    async def next_each(self, subjects: Sequence[str], position: int, deadline: float) -> list[Message | None]:
        """Return each subject's first message at `position` or behind it, from the leader, asked at once; None: it has none."""
        payloads = [msgspec.json.encode({"seq": position, "next_by_subj": subject}) for subject in subjects]
        replies = await self._ask("a read", lambda transport, until: transport.request_each(self._get, payloads, until), deadline)
        found: list[Message | None] = []
        for subject, reply in zip(subjects, replies, strict=True):
            if is_none(reply.data):
                found.append(None)
            else:
                # There is one, or that is not sure: both are rare, and asked about by themselves.
                found.append(await self.next(subject, position, deadline))
        return found

    async def newest(self, subjects: Sequence[str], deadline: float) -> Newest:
        """Return each subject's last message as one replica has them, and how far that replica had got.

        Any replica may answer, also one that lags: who needs to know that it did not compares `reached` with what must be in it.
        """
        payload = msgspec.json.encode({"multi_last": list(subjects)})
        replies = await self._ask(
            "a read", lambda transport, until: transport.request_batch(self._direct, payload, until), deadline
        )
        messages = [self._direct_message(reply) for reply in replies if not reply.status]
        end = replies[-1]
        return Newest({message.subject: message for message in messages}, end.position if end.status == ALL_SENT else 0)

    async def is_gone(self, position: int, deadline: float) -> bool:
        """Say whether the leader has no message at this position."""
        return await self.get(position, deadline) is None

    async def next(self, subject: str, position: int, deadline: float) -> Message | None:
        """Return the subject's first message at `position` or behind it, from the leader; None where there is none."""
        return await self._leader({"seq": position, "next_by_subj": subject}, deadline)

    async def at(self, positions: Sequence[int], deadline: float, size_hint: int) -> AsyncGenerator[list[Message]]:
        """Yield the messages at these positions, from any replica: all at once as long as they are small, else in parts.

        Args:
            positions: where they lie.
            deadline: on the loop's clock, in seconds.
            size_hint: the largest of their neighbours that is known, in bytes.

        Raises:
            CorruptEventError: there is no message at one of them.
        """
        done, largest = 0, size_hint
        while done < len(positions):
            count = max(FETCH_MIN, min(FETCH_MAX, FETCH_BYTES // (largest + 1)))
            part = await self._direct_each(positions[done : done + count], deadline)
            done += len(part)
            largest = max(largest, *(len(message.body) for message in part))
            yield part

    async def scan(self, subject: str, after: int, through: int, deadline: Callable[[], float]) -> AsyncGenerator[list[Message]]:
        """Yield the subject's messages behind position `after`, up to and with the one at `through`, in batches.

        The server looks through all messages in between, so this takes longer the longer the log is. `deadline` is called
        for each batch.
        """
        self.scans += 1
        attempt = 0
        while after < through:
            until = deadline()
            replies = await self._scan_once(subject, after, until)
            batch = [self._direct_message(reply) for reply in replies if not reply.status]
            batch = [message for message in batch if after < message.position <= through]
            if not batch:
                # A replica that lags, or one message above max_bytes: the leader has it.
                message = await self.next(subject, after + 1, until)
                if message is None:
                    # A leader that lags behind the one that told of `through`.
                    attempt += 1
                    await pause(attempt, until, f"a scan of {self.stream}", self.timeout_s)
                    continue
                if message.position > through:
                    raise CorruptEventError(self.stream, through, None, GONE)
                batch = [message]
            after = batch[-1].position
            yield batch

    async def _scan_once(self, subject: str, after: int, deadline: float) -> list[Reply]:
        payload = msgspec.json.encode({"seq": after + 1, "next_by_subj": subject, "batch": SCAN_BATCH, "max_bytes": FETCH_BYTES})
        return await self._ask("a scan", lambda transport, until: transport.request_batch(self._direct, payload, until), deadline)

    async def _direct_each(self, positions: Sequence[int], deadline: float) -> list[Message]:
        payloads = [b'{"seq":%d}' % position for position in positions]
        replies = await self._ask(
            "a read", lambda transport, until: transport.request_each(self._direct, payloads, until), deadline
        )
        # What a replica does not have yet, or says in another way, the leader has.
        late = [position for position, reply in zip(positions, replies, strict=True) if reply.status]
        found = await asyncio.gather(*(self._leader({"seq": position}, deadline) for position in late))
        theirs = dict(zip(late, found, strict=True))
        messages: list[Message] = []
        for position, reply in zip(positions, replies, strict=True):
            message = theirs[position] if reply.status else self._direct_message(reply)
            if message is None:
                raise CorruptEventError(self.stream, position, None, GONE)
            messages.append(message)
        return messages

    @staticmethod
    def _direct_message(reply: Reply) -> Message:
        return Message(reply.position, reply.subject or "", reply.data)

    async def _leader(self, asked: dict[str, object], deadline: float) -> Message | None:
        payload = msgspec.json.encode(asked)
        attempt = 0
        while True:
            got = await self._ask("a read", lambda transport, until: self._got(transport, payload, until), deadline)
            if got.message is not None:
                self.reached = max(self.reached, got.message.seq)
                return Message(got.message.seq, got.message.subject, got.message.data)
            error = got.error or ApiError(description="an answer without a message")
            if error.err_code in NO_MESSAGE:
                return None
            if error.err_code not in TRY_AGAIN:
                raise self._error(error)
            attempt += 1
            await pause(attempt, deadline, f"reading {self.stream}", self.timeout_s)

    async def _told(self, transport: Transport, until: float, payload: bytes = b"") -> Info:
        return info_in((await transport.request(self._info, payload, until)).data)

    async def _got(self, transport: Transport, payload: bytes, until: float) -> Got:
        return got_in((await transport.request(self._get, payload, until)).data)

    async def _ask(self, what: str, send: Callable[[Transport, float], Awaitable[T]], deadline: float) -> T:
        """Ask until it is answered: a read changes nothing, so it can be asked again."""
        attempt = 0
        while True:
            transport = await self._connection.ready(deadline)
            try:
                return await send(transport, self._attempt(deadline))
            except NoRespondersError:
                silent = True
            except UnansweredError:
                silent = False
            attempt += 1
            try:
                await pause(attempt, deadline, f"{what} of {self.stream}", self.timeout_s)
            except DeadlineError as error:
                if silent:
                    raise ServerUnavailableError(
                        self._connection.url,
                        f"{self.stream} has no leader, or was deleted; nobody answered within {self.timeout_s:g} s",
                    ) from error
                raise

    def _attempt(self, deadline: float) -> float:
        return min(deadline, asyncio.get_running_loop().time() + self._attempt_s)

    def _error(self, error: ApiError) -> AetherError:
        return api_error(self._connection.url, self.stream, error.code, error.err_code, error.description)
