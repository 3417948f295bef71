"""Requests and events over nats-py's public API: slower than a lane, and everywhere where nats-py is.

It has inboxes of its own, so that many requests are in flight at once and a lost connection ends them all at once instead of
by their time-outs. What a borrowed client tells only its owner is looked for; see
`portable_feeds`.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import nats.errors

from aether._native import bus_body, bus_subject
from aether.errors import CommitTooLargeError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.nats.portable_feeds import NatsPyFeed, NatsPyFeeds
from aether.nats.portable_flush import RoundTrips
from aether.nats.portable_inbox import NatsPyInbox, publish, reply_of, subscribe, unsubscribe
from aether.nats.transport import Info, Reply, heard
from aether.nats.waiting import Waiting, finish

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from urllib.parse import ParseResult

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from aether._native import Event, Exchange
    from aether.nats.errors import Denied
    from aether.nats.transport import Sink

__all__ = ["NatsPyTransport"]

ROOM_BYTES = 2**20
"""How many bytes may wait in nats-py before publishing waits; from twice as many on it would itself, for its own time."""

PUBLISH_BYTES = 2**18
"""How many bytes of events go out at once: few enough that nats-py never has to wait."""

POLL_S = 0.005


class NatsPyTransport:
    """A transport over a connected nats-py client, owned or borrowed; made by `await NatsPyTransport.open(client)`."""

    name = "nats-py"
    on_denied: Callable[[str, Exception], None] | None = None

    def __init__(self, client: Client, inbox: str) -> None:
        """Use `open`: a transport without its subscription hears nothing."""
        self._client = client
        self._inbox = inbox
        self._loop = asyncio.get_running_loop()
        self._takers: dict[str, Callable[[Msg], None]] = {}
        self._waiting = Waiting()
        self._inboxes: dict[NatsPyInbox, Callable[[Exception, str | None], None]] = {}
        self._trips = RoundTrips(client)
        self._feeds = NatsPyFeeds(client, self.refuse, self.flush)
        self._last_token = 0
        self._subscription: Subscription | None = None

    @classmethod
    async def open(cls, client: Client) -> NatsPyTransport:
        """Subscribe an inbox of its own on the client."""
        self = cls(client, client.new_inbox())
        # No bounds here: whoever asks bounds what can come back, and a full queue would drop answers.
        self._subscription = await subscribe(client, f"{self._inbox}.*", "", self._take)
        return self

    @property
    def max_payload(self) -> int:
        """The largest message the server takes, in bytes, headers included."""
        return self._client.max_payload

    @property
    def info(self) -> Info:
        """What the server said of itself; a plain client keeps what it said when they connected."""
        return msgspec.convert(self._client._server_info, Info)  # noqa: SLF001 - no public name has all of it

    @property
    def connected_url(self) -> ParseResult | None:
        """Where it is connected; None: nowhere at the moment."""
        return self._client.connected_url

    @property
    def losses(self) -> int:
        """How often the connection was lost and made anew; nats-py does that by itself."""
        return self._client.stats["reconnects"]

    def is_open(self) -> bool:
        """Say whether requests can go out."""
        return self._client.is_connected

    async def aclose(self) -> None:
        """Give the inbox back; what is in flight becomes unanswered."""
        self.lose_waiting(UnansweredError("the connection was closed"))
        if self._subscription is not None:
            await unsubscribe(self._subscription)

    def lose_waiting(self, reason: Exception, subject: str | None = None) -> bool:
        """End what is in flight (to `subject`, or all) with `reason`: the connection is lost, or the subject is denied.

        The subject is given in lower case, as nats-py tells it. Say whether a request was in flight.
        """
        waited = self._waiting.lose(reason, subject)
        for lost in [*self._inboxes.values()]:
            lost(reason, subject)
        if subject is None:
            self._feeds.end(reason)
        return waited

    def refuse(self, what: Denied, reason: Exception) -> bool:
        """Tell those whom a "permissions violation" concerns; False: the transport is of no use without."""
        self._feeds.heard()
        if what.publish:
            waited = self.lose_waiting(reason, what.subject)  # it will not be answered
            if not waited and self.on_denied is not None:
                self.on_denied(what.subject, reason)
            return True
        self._feeds.end(reason, what)
        return not what.is_inbox

    async def open_inbox(
        self, sink: Sink, woken: Callable[[], None], lost: Callable[[Exception, str | None], None]
    ) -> NatsPyInbox:
        """Lead answers to a native sink; see `Transport.open_inbox`."""
        inbox = NatsPyInbox(self._client, sink, woken, lambda closed: self._inboxes.pop(closed, None))
        await inbox.subscribe()
        self._inboxes[inbox] = lost
        return inbox

    async def request(
        self,
        subject: str,
        payload: bytes,
        deadline: float,
        headers: dict[str, str] | None = None,
        wanted: Callable[[Reply], bool] | None = None,
    ) -> Reply:
        """Send one request and return its answer; see `Transport.request`."""
        answer: list[Reply] = []
        done = self._loop.create_future()

        def take(msg: Msg) -> None:
            reply = reply_of(msg)
            if wanted is None or wanted(reply):
                answer.append(reply)
                finish(done)

        token = self._expect(take)
        try:
            await self._send(subject, payload, token, headers)
            await self._waiting.within(done, subject, deadline)
        finally:
            del self._takers[token]
        return heard(answer[0])

    async def request_each(self, subject: str, payloads: Sequence[bytes], deadline: float) -> list[Reply]:
        """Send all requests at once and return their answers in the same order."""
        answers: dict[int, Reply] = {}
        done = self._loop.create_future()

        def taker(place: int) -> Callable[[Msg], None]:
            def take(msg: Msg) -> None:
                answers[place] = reply_of(msg)
                if len(answers) == len(payloads):
                    finish(done)

            return take

        tokens = [self._expect(taker(place)) for place in range(len(payloads))]
        try:
            for token, payload in zip(tokens, payloads, strict=True):
                await self._send(subject, payload, token, None)
            if payloads:
                await self._waiting.within(done, subject, deadline)
        finally:
            for token in tokens:
                del self._takers[token]
        return [heard(answers[place]) for place in range(len(payloads))]

    async def request_batch(self, subject: str, payload: bytes, deadline: float) -> list[Reply]:
        """Send one request that is answered by several messages; return them up to and with the one that has a status."""
        answers: list[Reply] = []
        done = self._loop.create_future()

        def take(msg: Msg) -> None:
            answers.append(reply_of(msg))
            if answers[-1].status:
                finish(done)

        token = self._expect(take)
        try:
            await self._send(subject, payload, token, None)
            await self._waiting.within(done, subject, deadline)
        finally:
            del self._takers[token]
        heard(answers[-1])
        return answers

    def _expect(self, take: Callable[[Msg], None]) -> str:
        self._last_token += 1
        token = str(self._last_token)
        self._takers[token] = take
        return token

    async def _send(self, subject: str, payload: bytes, token: str, headers: dict[str, str] | None) -> None:
        await publish(self._client, subject, payload, f"{self._inbox}.{token}", headers)

    async def _take(self, msg: Msg) -> None:
        take = self._takers.get(msg.subject.rpartition(".")[2])
        # An answer that nobody waits for any more: its request was resolved another way.
        if take is not None:
            take(msg)

    # Events.

    def hear(self, taker: Callable[[bytes], None]) -> str:
        """Lead what is published to a subject of our own to `taker`; see `Transport.hear`."""
        return f"{self._inbox}.{self._expect(lambda msg: taker(msg.data))}"

    async def subscribe(
        self,
        subject: str,
        queue: str | None,
        exchange: Exchange,
        woken: Callable[[], None],
        lost: Callable[[Exception], None],
    ) -> NatsPyFeed:
        """Lead messages to a native exchange; see `Transport.subscribe`. `lost` may be called before this returns."""
        return await self._feeds.subscribe(subject, queue, NatsPyFeed(self._client, exchange, woken, lost))

    async def publish_events(self, namespace: str, events: list[Event], start: int, deadline: float) -> int:
        """Publish events in their order; see `Transport.publish_events`."""
        await self._room(deadline)
        index, size = start, 0
        while index < len(events) and size < PUBLISH_BYTES:
            try:
                size += await self._publish(namespace, events[index])
            except (CommitTooLargeError, NoRespondersError):
                if index == start:
                    raise
                break  # the next call meets it, with nothing before it
            index += 1
        return index

    async def _publish(self, namespace: str, event: Event) -> int:
        body = bus_body(event)
        if len(body) > self.max_payload:
            raise CommitTooLargeError(event.actor_id, len(body), self.max_payload)
        await publish(self._client, bus_subject(namespace, event), body, "", None)
        return len(body)

    async def publish_reply(self, subject: str, body: bytes, deadline: float) -> None:
        """Answer a request; see `Transport.publish_reply`."""
        await self._room(deadline)
        await publish(self._client, subject, body, "", None)

    async def _room(self, deadline: float) -> None:
        """Wait while the server takes less than it is given."""
        while self._client.is_connected and self._client.pending_data_size > ROOM_BYTES:
            if self._loop.time() > deadline:
                raise NoRespondersError("the server takes no more bytes")
            await asyncio.sleep(POLL_S)
        if not self._client.is_connected:
            # It would keep them for the next connection, out of our sight.
            raise NoRespondersError("the client is not connected")

    async def flush(self, deadline: float) -> None:
        """Return when the server has taken all that was published before; see `Transport.flush`."""
        done = self._loop.create_future()
        connections = self._client.stats["reconnects"]
        flushing = self._trips.begin()
        flushing.add_done_callback(lambda _: finish(done))
        try:
            await self._waiting.within(done, "", deadline)
            flushing.result()
        except (nats.errors.Error, OSError) as error:
            raise UnansweredError(str(error)) from error
        self._feeds.look()
        if self._client.stats["reconnects"] != connections:
            raise UnansweredError("the connection was lost")
