"""Bytes that change on the server's disk: the server drops such a message without a word, and the store must not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aether import CorruptEventError, EmbeddedServer, JetStreamEventStore, NewEvent

if TYPE_CHECKING:
    from pathlib import Path

COMMITS = 10


async def damaged(directory: Path, version: int) -> None:
    """Fill a server's directory with commits of one actor, end it, and change a byte of one commit on its disk."""
    async with EmbeddedServer(directory) as server, JetStreamEventStore(server.url) as store:
        for number in range(1, COMMITS + 1):
            await store.append("a", NewEvent("Counted", {"mark": f"MARK-{number:04d}"}))
        await store.append("b", NewEvent("Counted"))
    assert change(directory, f"MARK-{version:04d}".encode()) == 1


def change(directory: Path, mark: bytes) -> int:
    """Change a mark wherever it lies in the server's files; return how often it was there."""
    changed = 0
    for block in directory.rglob("*.blk"):
        content = block.read_bytes()
        changed += content.count(mark)
        block.write_bytes(content.replace(mark, mark.lower()))
    return changed


@pytest.mark.parametrize("version", [1, 4, 9])
async def test_a_message_that_the_disk_lost_is_named_and_passed_only_by_repair(tmp_path: Path, version: int) -> None:
    """A commit that the server dropped is `CorruptEventError` with its position in every read, until `repair` passes it."""
    await damaged(tmp_path, version)
    left = [number for number in range(1, COMMITS + 1) if number != version]
    async with EmbeddedServer(tmp_path) as server, JetStreamEventStore(server.url) as store:
        with pytest.raises(CorruptEventError, match="the message is gone") as caught:
            await store.get_events("a")
        assert (caught.value.position, caught.value.actor_id) == (version, "a")
        with pytest.raises(CorruptEventError, match="the message is gone"):
            assert [batch async for batch in store.read_events("a", batch_size=2)] == []
        assert await store.repair("a") == (version,)
        assert await store.repair("a") == ()
        assert [event.version for event in await store.get_events("a")] == left
        assert (await store.append("a", NewEvent("Counted"))).version == COMMITS + 1
        batches = [batch async for batch in store.read_events("a", batch_size=4)]
        assert [event.version for batch in batches for event in batch] == [*left, COMMITS + 1]


async def test_a_lost_last_message_is_no_new_actor(tmp_path: Path) -> None:
    """An actor whose last commit the disk lost is damaged, not new: no read says that it has no events."""
    await damaged(tmp_path, COMMITS)
    async with EmbeddedServer(tmp_path) as server, JetStreamEventStore(server.url) as store:
        for read in (store.get_events, store.get_latest_version, store.repair):
            with pytest.raises(CorruptEventError, match="has lost the last message"):
                await read("a")
        assert [event.version for event in await store.get_events("b")] == [1]
        assert await store.get_events("never") == []
