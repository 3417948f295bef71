"""How a node tells the leader what it has let go.

It says so again and again until the table moves on: a word may be lost, and leaders change.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

import msgspec

from aether.cluster.calls import RELEASED
from aether.cluster.controller import Released
from aether.cluster.pulse import until
from aether.errors import AetherError
from aether.nats.errors import NoRespondersError, UnansweredError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.calls import NodeCalls
    from aether.cluster.controller import Controller
    from aether.cluster.shards import Shards

__all__ = ["Releasing"]

_LOG = logging.getLogger("aether.cluster")

ASK_S = 1.0
AGAIN_S = 0.25
"""How long the table may take to move on before the leader is told again."""

HEARD, NOT_LEADING = b"1", b"0"
_DECODE = msgspec.json.Decoder(Released)


class Releasing:
    """Tells the leader what this node has let go; on the leader, hears it.

    Args:
        node_id: the node's name.
        shards: its shards.
        controller: leads, where this node does.
        calls: requests to other nodes.
        leader: names the leader.
    """

    def __init__(
        self, node_id: str, shards: Shards, controller: Controller, calls: NodeCalls, leader: Callable[[], str | None]
    ) -> None:
        self._node_id, self._shards, self._controller, self._calls, self._leader = node_id, shards, controller, calls, leader
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again: something changed."""
        self._woken.set()

    async def run(self) -> None:
        """Tell, for ever."""
        while True:
            self._woken.clear()
            position, shards = self._shards.releases()
            if shards:
                await self._tell(Released(self._node_id, position, shards))
            await until(self._woken, asyncio.get_running_loop().time() + AGAIN_S if shards else None)

    async def _tell(self, told: Released) -> None:
        if self._controller.released(told):
            return
        leader = self._leader()
        if leader is None or leader == self._node_id:
            return  # nobody decides at the moment
        deadline = asyncio.get_running_loop().time() + ASK_S
        try:
            answer = await self._calls.request(leader, RELEASED, msgspec.json.encode(told), deadline)
            if answer != HEARD:
                _LOG.debug("%s does not lead any more", leader)
        except (AetherError, NoRespondersError, UnansweredError) as error:
            _LOG.info("the leader %s was not told of %d shards that were let go: %s", leader, len(told.shards), error)

    async def hear(self, body: bytes) -> bytes:
        """Take what another node has let go."""
        return HEARD if self._controller.released(_DECODE.decode(body)) else NOT_LEADING
