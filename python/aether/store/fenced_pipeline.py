"""Ingestion into a sharded namespace: one commit on its way in each shard, under the shard's fence.

It is the pipeline of every store: natively kept, many commits to a write, plain acks settled without Python. What differs is the
guard, which speaks of the shard. So events wait in the line of their shard, and go out while the pipeline holds the shard's turn
(`shard_loans.py`), on top of heads that were made or proven under its fence (`fenced_troubles.py`). A commit that is not plainly
acked is resolved in the same turn, as every write under a fence is (`Delivery`), before anything else goes to its shard.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aether.store.fenced_troubles import FencedTroubles
from aether.store.fenced_writer import FencedWriter
from aether.store.pipeline import JetStreamPipeline
from aether.store.shard_loans import FencedOutbox, ShardLoans

if TYPE_CHECKING:
    from aether._native import HeadCache
    from aether.store.commit_writer import Writer
    from aether.store.troubles import Troubles

__all__ = ["FencedPipeline"]


class FencedPipeline(JetStreamPipeline):
    """The `IngestPipeline` of a shard's owner; arguments as those of `JetStreamPipeline`.

    Events of a shard that is not owned here, or not any more, end as failed with `NotOwnerError`; those of one that takes no
    writes within the store's `timeout_s` with `ShardUnavailableError`. Others go on. What waits for a shard counts as pending.
    """

    def _heads_of(self, writer: Writer) -> HeadCache:
        return _fenced(writer).exact

    def _troubles_of(self, writer: Writer, **arguments: Any) -> Troubles:  # noqa: ANN401 - those of the base
        owner = _fenced(writer)
        self._pending.go_in_line(owner.heads)
        self._outbox = FencedOutbox(self._pending, owner)
        self._loans = ShardLoans(self._pending, self._ledger, owner, self._log.timeout_s, self._on_moved)
        return FencedTroubles(self._pending, self._ledger, writer=writer, owner=owner, loans=self._loans, **arguments)

    async def _send(self) -> None:
        """Send what is ready, and what becomes so by what is lent."""
        self._loans.lend()
        await super()._send()
        while self._loans.lend():
            await super()._send()

    async def _close(self) -> None:
        try:
            await super()._close()
        finally:
            self._loans.close()


def _fenced(writer: Writer) -> FencedWriter:
    if not isinstance(writer, FencedWriter):
        raise TypeError("a fenced pipeline needs the writer of the shards' fences")
    return writer
