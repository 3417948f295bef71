"""The bus on NATS: events on core subjects, and subscriptions that are proven before `subscribe` returns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

from aether.bus.abstract import AbstractEventBus
from aether.bus.asking import Asker
from aether.bus.base import BusInfo
from aether.bus.feeds import Feeds
from aether.bus.sending import Sender
from aether.nats.connection import Connection
from aether.nats.subjects import bus_filter, bus_queue, check_namespace
from aether.nats.witnesses import Witnesses

if TYPE_CHECKING:
    from nats.aio.client import Client

    from aether.bus.arguments import SubscribeOptions
    from aether.bus.channels import Seat
    from aether.bus.intake import Intake
    from aether.event import Event
    from aether.nats.connect_options import ConnectOptions
    from aether.nats.transport import Transport

__all__ = ["NATSEventBus"]


class NATSEventBus(AbstractEventBus):
    """An `EventBus` over NATS, for publishers and subscribers in any number of processes.

    A plain call that connects at first use, or as an async context manager on enter. Core NATS delivers at most once: what is
    published while a subscriber's connection is lost does not reach it, and `SubscriptionInterruptedError` tells it so, once
    all is heard again. Events of a publisher come in its order; what was under way when its connection was lost may be lost, or
    come late, and `PublishInterruptedError` tells it so. What must not be missed is saved in a store, and read from there.

    Args:
        url_or_client: "nats://host:port" (several joined by commas), "embedded:DIR" for a server owned by this process, or a
            connected nats-py client, which is borrowed and stays open.
        namespace: 1 to 64 characters of A-Z, a-z, 0-9, `_` and `-`. Nothing of one is visible from another.
        timeout_s: what each call may take, in seconds, at most a day.
        options: how to log in, and with which TLS, where the URL does not say it all. Beside a borrowed client they are for
            the connections to the other servers of its cluster alone.
        ready: which servers know of a subscription when `subscribe` returns. "cluster": all that the own server names, to each
            of which the bus keeps a small connection. "server": the own one; what clients of others publish in the first
            moments may then be missed.
    """

    def __init__(
        self,
        url_or_client: str | Client,
        *,
        namespace: str = "default",
        timeout_s: float = 10.0,
        options: ConnectOptions | None = None,
        ready: Literal["cluster", "server"] = "cluster",
    ) -> None:
        super().__init__(timeout_s)
        if ready not in ("cluster", "server"):
            raise ValueError(f'ready must be "cluster" or "server", not {ready!r}')
        self._namespace, self._ready = check_namespace(namespace), ready
        owned = isinstance(url_or_client, str)
        self._connection = Connection(url_or_client, timeout_s, options if owned else None)
        self._witnesses = Witnesses(timeout_s, self._doubt, None if owned else options)
        self._feeds = Feeds(self._connection, timeout_s, self._prove)
        self._sender = Sender(self._connection, namespace, timeout_s, self._note_unsent)
        self._asker = Asker(self._connection, self._sender, namespace, timeout_s)
        self._seats: dict[Intake, Seat] = {}

    def __repr__(self) -> str:
        return f"<NATSEventBus {self._namespace!r} at {self._connection.url}>"

    def _check_options(self, options: SubscribeOptions) -> None:
        if options.policy == "block":
            raise ValueError('policy="block" is for local buses: no publisher elsewhere can be made to wait; take "error"')

    # What travels.

    async def _open(self, deadline: float) -> None:
        await self._connection.ready(deadline)

    async def _give_up_opening(self) -> None:
        await self._connection.aclose()

    async def _attach(self, intake: Intake, deadline: float) -> str:
        options = intake.options
        namespace = None if options.all_namespaces else self._namespace
        key = options.group_key
        self._seats[intake] = await self._feeds.join(
            intake,
            bus_filter(namespace, options.actor_id, options.event_type),
            namespace=namespace,
            queue=None if key is None else bus_queue(namespace, *key),
            deadline=deadline,
        )
        return "server" if self._witnesses.are_blind else self._ready

    async def _detach(self, intake: Intake) -> None:
        seat = self._seats.pop(intake, None)
        if seat is not None:
            await self._feeds.leave(seat)

    async def _prove(self, transport: Transport, deadline: float) -> None:
        """Return when the servers know what was subscribed on this transport: the own one, or every one."""
        if self._ready == "cluster":
            await self._witnesses.prove(transport, deadline)
        else:
            await transport.flush(deadline)

    def _doubt(self, reason: str) -> None:
        self._feeds.doubt(reason)

    async def _send(self, events: list[Event], before: int) -> None:
        await self._sender.send(events, before)

    async def _flush(self, deadline: float) -> None:
        await self._sender.flush(deadline)

    async def _request(self, event: Event, timeout_s: float) -> Any:  # noqa: ANN401 - whatever the handler returned
        return await self._asker.request(event, timeout_s)

    async def _reply(self, reply: str, body: bytes) -> None:
        await self._asker.reply(reply, body)

    async def _close(self) -> None:
        # The connection goes last, and whatever the others say: who still waits for it is told by its end.
        try:
            await self._sender.aclose()
            await self._feeds.aclose()
            await self._witnesses.aclose()
        finally:
            await self._connection.aclose()

    async def info(self) -> BusInfo:
        """Say what this bus is."""
        await self.start()
        transport = await self._connection.ready(asyncio.get_running_loop().time() + self._timeout_s)
        return BusInfo(
            bus="nats",
            namespace=self._namespace,
            transport=transport.name,
            server_version=self._connection.server_version,
            ready=self._ready,
            event_bytes_max=transport.max_payload,
        )
