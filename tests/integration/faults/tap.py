"""A TCP relay that knows nothing of the protocol: it cuts after a byte, injects, drips, mutes and stalls, link by link."""

from __future__ import annotations

import asyncio
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aether import JetStreamEventStore, NewEvent
from faults.relay import LINGER_NONE, READ_BYTES, Relay, until_one_ends
from faults.waiting import LIMIT_S, asking_again, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aether import EmbeddedServer

LANE = b'"aether lane"'
"""How a lane's CONNECT can be told from nats-py's."""


class Plan:
    """What happens to one link.

    Attributes:
        cut_down_at, cut_up_at: the link is cut when so many bytes have gone to the client, or to the server; None: never.
        reset: it is cut by a TCP reset.
        drip: bytes go to the client one by one, each in a packet of its own.
        down: what becomes of bytes for the client; None: the link is cut.
        mute: nothing passes to the client.
        stalled: nothing is taken from the client.
    """

    def __init__(self, *, cut_down_at: int | None = None, cut_up_at: int | None = None, drip: bool = False) -> None:
        self.cut_down_at, self.cut_up_at, self.drip = cut_down_at, cut_up_at, drip
        self.reset = False
        self.down: Callable[[bytes], bytes | None] = bytes
        self.mute = False
        self.stalled = False


class Link:
    """One connection through the tap.

    Attributes:
        plan: what happens to it; may be changed at any time.
        lane: whether a lane logged in on it.
        sent_down, sent_up: how many bytes went to the client, and to the server.
    """

    def __init__(self, plan: Plan, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.plan, self._client, self._server = plan, client, server
        self.lane = False
        self.sent_down = self.sent_up = 0
        self._ended = False

    def cut(self) -> None:
        """End it, in good order or by a reset, as planned."""
        if self._ended:
            return
        self._ended = True
        if self.plan.reset and not self._client.transport.is_closing():
            self._client.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NONE)
            self._client.transport.abort()
        else:
            self._client.close()
        self._server.transport.abort()

    def inject(self, data: bytes) -> None:
        """Say something to the client that the server did not."""
        self._client.write(data)

    async def down(self, reader: asyncio.StreamReader) -> None:
        """Carry what the server says."""
        while data := await reader.read(READ_BYTES):
            while self.plan.mute:  # noqa: ASYNC110 - the test changes the plan and tells nobody
                await asyncio.sleep(0.005)
            said = self.plan.down(data)
            if said is None:
                return
            limit = self.plan.cut_down_at
            ends = limit is not None and self.sent_down + len(said) >= limit
            said = said[: limit - self.sent_down] if ends and limit is not None else said
            if self._ended:
                return
            for part in (said[at : at + 1] for at in range(len(said))) if self.plan.drip else [said]:
                self._client.write(part)
                await self._client.drain()
                if self.plan.drip:
                    await asyncio.sleep(0)
            self.sent_down += len(said)
            if ends:
                return

    async def _while_stalled(self) -> None:
        while self.plan.stalled:  # noqa: ASYNC110 - the test changes the plan and tells nobody
            await asyncio.sleep(0.005)

    async def up(self, reader: asyncio.StreamReader) -> None:
        """Carry what the client says."""
        while True:
            await self._while_stalled()
            data = await reader.read(READ_BYTES)
            await self._while_stalled()  # what came since it stalled does not pass either
            if not data:
                return
            self.lane = self.lane or LANE in data
            limit = self.plan.cut_up_at
            ends = limit is not None and self.sent_up + len(data) >= limit
            data = data[: limit - self.sent_up] if ends and limit is not None else data
            self._server.write(data)
            await self._server.drain()
            self.sent_up += len(data)
            if ends:
                return


class Tap(Relay):
    """Relays every connection to a server.

    Attributes:
        plan: makes the plan of each new link.
        links: the links that are up.
        seen: how many links there were.
    """

    def __init__(self, url: str = "") -> None:
        super().__init__(url)
        self.plan: Callable[[], Plan] = Plan
        self.links: list[Link] = []
        self.seen = 0

    @property
    def lanes(self) -> list[Link]:
        """The links on which a lane logged in."""
        return [link for link in self.links if link.lane]

    @property
    def lane(self) -> Link:
        """The only lane."""
        (link,) = self.lanes
        return link

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        plan = self.plan()
        self.seen += 1
        try:
            server_reader, server_writer = await asyncio.open_connection(*self._target)
        except ConnectionError:
            return
        link = Link(plan, writer, server_writer)
        self.links.append(link)
        try:
            await until_one_ends(link.down(server_reader), link.up(reader))
        finally:
            self.links.remove(link)
            link.cut()


def once(plan: Plan) -> Callable[[], Plan]:
    """Plan so for the next link, and nothing for those after it."""
    plans = [plan]
    return lambda: plans.pop() if plans else Plan()


@asynccontextmanager
async def tapped(
    server: EmbeddedServer, namespace: str, again_s: float = 1.0, timeout_s: float = LIMIT_S
) -> AsyncIterator[tuple[Tap, JetStreamEventStore]]:
    """A store with one event of the actor "a", open through a tap; afterwards no task and no link is left.

    Its calls have the time of a busy machine, and ask again after a while without an answer.
    """
    before = asyncio.all_tasks()
    async with Tap(server.url) as tap:
        async with JetStreamEventStore(tap.url, namespace=namespace, timeout_s=timeout_s) as store:
            asking_again(store, again_s)
            await store.append("a", NewEvent("t"))
            yield tap, store
        await until(lambda: not tap.links)
        await until(lambda: not tap.tasks)
        left = asyncio.all_tasks() - before
        assert not left, left
