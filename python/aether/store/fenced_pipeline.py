"""Ingestion into a sharded namespace: each commit goes through the shard's owner, one on its way in each shard.

The bookkeeping is that of every pipeline: events wait by actor, what has queued up becomes one commit, each event's end is told.
Only the way out differs. A guard here speaks of the shard, and its last position is the fence's, so nothing is sent natively:
each commit is handed to `FencedWriter` as one that nobody has heard of yet, and ends as the writer says. That costs a few hundred
microseconds of Python a commit (docs/decisions/0006 has figures); it saves a second keeper of the shards' fences.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aether.errors import AetherError
from aether.nats.errors import UNAVAILABLE
from aether.store.pipeline import JetStreamPipeline

__all__ = ["FencedPipeline"]

WRITES_AT_ONCE = 256


class FencedPipeline(JetStreamPipeline):
    """The `IngestPipeline` of a shard's owner; arguments as those of `JetStreamPipeline`.

    Events of shards that are not owned here, or not any more, end as failed with `NotOwnerError`; others go on.
    """

    def __init__(self, **arguments: Any) -> None:  # noqa: ANN401 - those of the base
        super().__init__(**arguments, doubts_at_once=WRITES_AT_ONCE)

    async def _send(self) -> None:
        """Hand what is ready to the shards' owner: `Troubles` takes it for commits that nobody has heard of."""
        try:
            transport = await self._connection.ready(asyncio.get_running_loop().time() + self._log.timeout_s)
        except AetherError as error:
            self._ledger.halt(error)
            return
        self._pending.set_commit_bytes_max(transport.max_payload)
        while messages := self._pending.messages():
            for _, token, _, _ in messages:
                self._pending.accept(token, UNAVAILABLE, 0, "", b"")
