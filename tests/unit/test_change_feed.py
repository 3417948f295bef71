"""A feed of what changes in a cluster, apart from any cluster."""

from __future__ import annotations

import asyncio

from aether.cluster.changes import Changes, ClusterChange

LIMIT_S = 20.0


async def test_several_readers_of_one_feed_share_it_and_all_end():
    """Each change goes to one of those who read a feed, none of them waits for ever, and the end ends all."""
    changes = Changes()
    feed = changes.feed()

    async def read() -> list[int | None]:
        return [change.shard async for change in feed]

    readers = [asyncio.create_task(read()) for _ in range(3)]
    for shard in range(10):
        await asyncio.sleep(0)  # the readers wait by now, or read
        changes.put(ClusterChange(kind="acquired", shard=shard))
    changes.end()
    done = await asyncio.wait_for(asyncio.gather(*readers), LIMIT_S)
    assert sorted(shard for shards in done for shard in shards if shard is not None) == [*range(10)]
