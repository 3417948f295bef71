"""How a node tells the leader what it has let go, and what of the shards that were moved to it it has taken.

It says so again and again until the table moves on: a word may be lost, and leaders change.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from aether.cluster.calls import PROGRESS
from aether.cluster.progress import Progress
from aether.cluster.pulse import until
from aether.cluster.telling import Trouble
from aether.errors import AccessDeniedError, AetherError
from aether.nats.errors import NoRespondersError, UnansweredError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aether.cluster.calls import NodeCalls
    from aether.cluster.controller import Controller
    from aether.cluster.shards import Shards

__all__ = ["Reporting"]

_LOG = logging.getLogger("aether.cluster")

ASK_S = 1.0
AGAIN_S = 0.25
"""How long the table may take to move on before the leader is told again."""

HEARD, NOT_LEADING = b"1", b"0"


class Reporting:
    """Tells the leader how far this node has come; on the leader, hears it.

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
        self._trouble = Trouble()
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Look again: something changed."""
        self._woken.set()

    async def run(self) -> None:
        """Tell, for ever."""
        loop = asyncio.get_running_loop()
        said: tuple[Progress, str | None] | None = None
        again_at = loop.time()
        while True:
            self._woken.clear()
            leader, progress = self._leader(), self._shards.progress()
            if progress is not None and ((progress, leader) != said or loop.time() >= again_at):
                if await self._tell(progress, leader):
                    self._shards.told(progress.taken)
                said, again_at = (progress, leader), loop.time() + AGAIN_S
            await until(self._woken, None if progress is None else again_at)

    async def _tell(self, progress: Progress, leader: str | None) -> bool:
        """Tell the leader, and say whether it has heard."""
        if self._controller.hear(progress):
            return True
        if leader is None or leader == self._node_id:
            return False  # nobody decides at the moment
        deadline = asyncio.get_running_loop().time() + ASK_S
        try:
            answer = await self._calls.request(leader, PROGRESS, progress.encode(), deadline)
        except (AetherError, NoRespondersError, UnansweredError) as error:
            lasts = isinstance(error, AccessDeniedError) and self._trouble.is_news(str(error), asyncio.get_running_loop().time())
            level = logging.WARNING if lasts else logging.INFO
            _LOG.log(level, "the leader %s was not told of %d shards that were let go: %s", leader, len(progress.released), error)
            return False
        if answer != HEARD:
            _LOG.debug("%s does not lead any more", leader)
        return answer == HEARD

    async def hear(self, body: bytes) -> bytes:
        """Take how far another node has come."""
        return HEARD if self._controller.hear(Progress.decode(body)) else NOT_LEADING
