"""Inboxes over nats-py's public API, and what publishes there, message by message."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import nats.errors

from aether.errors import ServerRefusedError
from aether.nats.errors import ALL_SENT, NoRespondersError
from aether.nats.transport import GUARD, GUARD_SUBJECT, Reply

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from aether.nats.transport import Outbox, Sink

__all__ = ["NatsPyInbox", "publish", "reply_of", "subscribe", "unsubscribe"]

ACK = "$JS.ACK."

ENDED = (nats.errors.ConnectionClosedError, nats.errors.ConnectionDrainingError, nats.errors.OutboundBufferLimitError)
"""What a client says that takes nothing, because it was closed, is about to be, or has lost its connection."""


class NatsPyInbox:
    """An inbox on nats-py's client, message by message; see `Inbox`."""

    def __init__(self, client: Client, sink: Sink, woken: Callable[[], None], closed: Callable[[NatsPyInbox], object]) -> None:
        self._client, self._sink, self._woken, self._closed = client, sink, woken, closed
        self.prefix = f"{client.new_inbox()}."
        self._subscription: Subscription | None = None

    async def subscribe(self) -> None:
        """Let answers come."""
        self._subscription = await subscribe(self._client, f"{self.prefix}*", "", self._take)

    async def _take(self, msg: Msg) -> None:
        if msg.reply.startswith(ACK):
            # A consumer delivers a message under its own subject, and says in the reply where it lies.
            self._sink.accept(0, 0, msg.metadata.sequence.stream, msg.subject, msg.data)
        else:
            reply = reply_of(msg)
            token = int(msg.subject.rpartition(".")[2])
            self._sink.accept(token, reply.status, reply.position, reply.subject or "", reply.data)
        self._woken()

    async def ask(self, subject: str, payload: bytes, token: int, deadline: float) -> None:  # noqa: ARG002 - of the protocol
        """Send one request whose answers come under `token`."""
        await publish(self._client, subject, payload, f"{self.prefix}{token}", None)

    async def send(self, outbox: Outbox, deadline: float) -> None:  # noqa: ARG002 - of the protocol
        """Send what the outbox has ready; nats-py holds the caller back where the server takes less."""
        while messages := outbox.messages():
            for subject, token, guard, body, guarded in messages:
                headers = {GUARD: str(guard)} if guarded is None else {GUARD: str(guard), GUARD_SUBJECT: guarded}
                await publish(self._client, subject, body, f"{self.prefix}{token}", headers)

    async def aclose(self) -> None:
        """Give the inbox back; answers that still come are of no more interest."""
        self._closed(self)
        if self._subscription is not None:
            await unsubscribe(self._subscription)


async def publish(client: Client, subject: str, payload: bytes, reply: str, headers: dict[str, str] | None) -> None:
    """Publish, with this package's errors."""
    try:
        await client.publish(subject, payload, reply, headers)
    except ENDED as error:
        # Refused before a byte was sent; with others in flight that makes no difference to the caller.
        raise NoRespondersError(str(error)) from error
    except nats.errors.MaxPayloadError as error:
        raise ServerRefusedError(
            subject, 0, f"{len(payload):,} bytes are more than the server takes since it restarted"
        ) from error


async def subscribe(client: Client, subject: str, queue: str, take: Callable[[Msg], Awaitable[None]]) -> Subscription:
    """Subscribe without nats-py's own bounds, with this package's errors.

    Raises:
        NoRespondersError: the client is closed, or about to be.
    """
    try:
        return await client.subscribe(subject, queue, cb=take, pending_msgs_limit=0, pending_bytes_limit=0)
    except ENDED as error:
        raise NoRespondersError(str(error)) from error


async def unsubscribe(subscription: Subscription) -> None:
    """Give a subscription back, if it has not ended by itself."""
    # A borrowed client may have been closed or drained by its owner, and the inbox with it.
    with contextlib.suppress(*ENDED, nats.errors.BadSubscriptionError):
        await subscription.unsubscribe()


def reply_of(msg: Msg) -> Reply:
    """Read an answer."""
    headers = msg.headers
    if headers is None:
        return Reply(0, 0, None, msg.data)
    position = int(headers.get("Nats-Sequence", 0))
    if position:
        # It may have been published with a status line; it ends no answer for that.
        return Reply(0, position, headers.get("Nats-Subject"), msg.data)
    status = int(headers.get("Status", 0))
    return Reply(status, int(headers.get("Nats-UpTo-Sequence", 0)) if status == ALL_SENT else 0, None, msg.data)
