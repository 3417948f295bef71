"""What has to go on when a server restarts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aether import NewEvent

if TYPE_CHECKING:
    from aether import EmbeddedServer, JetStreamEventStore


async def write_restart_write(server: EmbeddedServer, store: JetStreamEventStore) -> None:
    """Save and read over the lane, before and after the server's restart."""
    await store.append("a", NewEvent("t"))
    assert (await store.info()).transport == "lane"
    await server.restart()
    await store.append("a", NewEvent("t"))
    assert [event.version for event in await store.get_events("a")] == [1, 2]
    assert (await store.info()).transport == "lane"
