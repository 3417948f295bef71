"""Requests from node to node, over core NATS: never stored, each with a deadline.

A node listens on one subject for each thing it can be asked. The answers begin with a mark that says what they are, because a
handler's failure must not look like its answer.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING

from aether.cluster.ending import end_tasks
from aether.cluster.telling import Trouble
from aether.errors import AetherError, RequestFailedError, ServerRefusedError
from aether.nats.errors import NobodyListensError, NoRespondersError, UnansweredError
from aether.nats.portable_inbox import subscribe, unsubscribe
from aether.nats.subjects import node_subject

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from aether.nats.connection import Connection
    from aether.nats.transport import Transport

    Handler = Callable[[bytes], Awaitable[bytes]]

__all__ = ["DRAIN", "PROGRESS", "REPAIR", "NodeCalls", "NotServedError"]

_LOG = logging.getLogger("aether.cluster")
_VERB = re.compile(r"[a-z][a-z-]{0,31}")

DRAIN, PROGRESS, REPAIR = "drain", "progress", "repair"
"""What every node is asked: to give its shards away; where it leads, to hear what another has let go and taken;
and to repair an actor that it owns."""

RUNNING_MAX = 50_000
RUNNING_BYTES_MAX = 64 * 1024 * 1024
"""How many requests of a kind are handled at a time, and how large they may be together, in bytes, one in any case; more are
refused, and told so. Each kind by itself: a flood of commands must not keep the leader from hearing that a shard was let go."""

ANSWER, FAILURE, UNSERVED, BUSY = b"+", b"-", b"?", b"!"


class NotServedError(NobodyListensError):
    """The node is there, and has nothing that handles such requests; it had no effect. Internal to this package."""


FAILURE_LENGTH_MAX = 2_000
"""How much of what a handler raised is told."""


def _check_verb(verb: str) -> None:
    """Refuse what is no verb, before it is part of a subject: a space or a line feed there would break the protocol."""
    if not _VERB.fullmatch(verb):
        raise ValueError(f"a verb is 1 to 32 characters of a-z and -, not {verb!a}")


def failure_frame(error: Exception) -> bytes:
    """Return the answer that says what was raised; of many words the first."""
    return FAILURE + f"{type(error).__name__}: {error}"[:FAILURE_LENGTH_MAX].encode(errors="replace")


class NodeCalls:
    """What one node asks others, and is asked.

    Args:
        connection: the node's connection.
        namespace: its namespace.
        node_id: its name.
        timeout_s: what sending an answer may take, in seconds.
    """

    def __init__(self, connection: Connection, namespace: str, node_id: str, timeout_s: float) -> None:
        self._connection, self._namespace, self._timeout_s = connection, namespace, timeout_s
        self._own = node_subject(namespace, node_id, "*")
        self._handlers: dict[str, Handler] = {}
        self._running: dict[str, set[asyncio.Task[None]]] = {}
        self._bytes: Counter[str] = Counter()  # of the requests that are handled
        self._heard: tuple[Client, Subscription] | None = None
        self._is_deaf = False
        self._answering: Transport | None = None
        self._trouble = Trouble()

    # Being asked.

    async def listen(self) -> None:
        """Hear requests, if they are not heard yet: a connection may have been made anew, with another client.

        Raises:
            NoRespondersError: the connection is lost.
        """
        client = self._connection.client
        if self._is_deaf or (self._heard is not None and self._heard[0] is client):
            return
        self._heard = (client, await subscribe(client, self._own, "", self._take))
        if self._is_deaf:  # since then
            await self.deafen()

    async def deafen(self) -> None:
        """Hear no more, for good: another process has the name, and whoever asks it must not be answered by this one."""
        self._is_deaf = True
        if self._heard is not None:
            heard, self._heard = self._heard, None
            await unsubscribe(heard[1])

    def serve(self, verb: str, handler: Handler) -> None:
        """Have requests of this kind handled, each in a task of its own.

        Raises:
            AetherError: somebody does already.
            ValueError: that is no verb.
        """
        _check_verb(verb)
        if verb in self._handlers:
            raise AetherError(f"this node handles {verb!r} already; one handler serves a verb")
        self._handlers[verb] = handler
        self._running.setdefault(verb, set())

    async def unserve(self, verb: str) -> None:
        """Handle no more requests of this kind, and return when those that are handled have ended.

        Whoever is cancelled while he waits, as by a deadline, cancels them.
        """
        self._handlers.pop(verb, None)
        running = self._running.get(verb, set())
        try:
            while running:
                await asyncio.wait([*running])
        except asyncio.CancelledError:
            for task in running:
                task.cancel()
            raise

    async def aclose(self) -> None:
        """Hear no more, and end what is being handled."""
        self._handlers.clear()
        await self.deafen()
        running = [task for tasks in self._running.values() for task in tasks]
        await end_tasks(running)

    async def _take(self, msg: Msg) -> None:
        verb = msg.subject.rpartition(".")[2]
        handler = self._handlers.get(verb)
        running = self._running.setdefault(verb, set()) if handler is not None else set()
        if handler is None or self._is_busy(verb, len(running), len(msg.data)):
            if self._connection.is_up():  # nobody waits here for a connection, least of all while more comes than can be handled
                await self._reply(msg, UNSERVED if handler is None else BUSY)
            return
        self._bytes[verb] += len(msg.data)
        task = asyncio.create_task(self._handle(handler, verb, msg), name=f"aether-node-{verb}")
        running.add(task)
        task.add_done_callback(partial(self._handled, verb, len(msg.data)))

    def _is_busy(self, verb: str, running: int, size: int) -> bool:
        held = self._bytes[verb]
        return running >= RUNNING_MAX or (held > 0 and held + size > RUNNING_BYTES_MAX)

    def _handled(self, verb: str, size: int, task: asyncio.Task[None]) -> None:
        self._running[verb].discard(task)
        self._bytes[verb] -= size

    async def _handle(self, handler: Handler, verb: str, msg: Msg) -> None:
        try:
            frame = ANSWER + await handler(msg.data)
        except Exception as error:  # noqa: BLE001 - whoever asked is told of it
            _LOG.exception("a request %r failed", verb)
            frame = failure_frame(error)
        await self._reply(msg, frame)

    async def _reply(self, msg: Msg, frame: bytes) -> None:
        """Answer, where an answer is wanted; whoever gets none asks again."""
        if not msg.reply:
            return
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            transport = await self._connection.ready(deadline)
            if transport is not self._answering:
                self._answering, transport.on_denied = transport, self._on_denied
            try:
                await transport.publish_reply(msg.reply, frame, deadline)
            except ServerRefusedError as error:  # it is too large, so whoever asked is told that instead
                await transport.publish_reply(msg.reply, failure_frame(error), deadline)
        except (AetherError, NoRespondersError) as error:
            _LOG.warning("an answer to %s was not sent: %s", msg.subject, error)

    def _on_denied(self, subject: str, error: Exception) -> None:
        """Warn now and then that answers are denied: whoever asks sees only that none comes, and the connection stays up."""
        prefix = subject.partition(".")[0]
        if prefix.startswith(("$", "aether")):
            return  # no answer; the connection has logged it
        if self._trouble.is_news(f"answers to {prefix}", asyncio.get_running_loop().time()):
            _LOG.warning(
                "%s: this node's answers to others are denied, so whatever they ask it fails in the end; allow its account to "
                "publish to %s.> (allow_responses is not enough, for answers take another connection than requests): %s",
                self._own.removesuffix(".*"),
                "_INBOX" if prefix == "_inbox" else prefix,
                error,
            )

    # Asking.

    async def request(self, node_id: str, verb: str, body: bytes, deadline: float) -> bytes:
        """Ask a node, and return its answer.

        Args:
            node_id: the node's name.
            verb: what it is asked.
            body: the question.
            deadline: on the loop's clock, in seconds.

        Raises:
            NoRespondersError: nothing was sent, or (`NobodyListensError`) the node is not there, is too busy, or
                (`NotServedError`) handles no such requests; it had no effect.
            UnansweredError: sent, and no answer came: it may have had its effect.
            RequestFailedError: the handler raised.
            ServerUnavailableError: no server answers by the deadline.
            ValueError: that is no verb.
        """
        _check_verb(verb)
        transport = await self._connection.ready(deadline)
        try:
            reply = await transport.request(node_subject(self._namespace, node_id, verb), body, deadline)
        except NobodyListensError as error:
            raise NobodyListensError(f"no node {node_id!r} of the namespace {self._namespace!r} listens") from error
        mark, answer = reply.data[:1], reply.data[1:]
        if mark == ANSWER:
            return answer
        if mark == FAILURE:
            raise RequestFailedError(answer.decode(errors="replace"))
        if mark == UNSERVED:
            raise NotServedError(f"the node {node_id!r} serves no {verb!r}")
        if mark == BUSY:
            raise NobodyListensError(f"the node {node_id!r} is too busy")
        raise UnansweredError(f"an answer to {verb!r} that is none of a node's")
