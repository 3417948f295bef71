"""Nodes that are used as they should not be: told so, and no harm done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from clustering import join

from aether import AetherError

if TYPE_CHECKING:
    from aether import EmbeddedServer


async def test_who_drains_too_early_is_refused_and_joins_as_if_nothing_was(nats_server: EmbeddedServer, namespace: str) -> None:
    """Draining a node that has not joined, or has ended, is refused, and it gets its shards when it joins."""
    node = join(nats_server.url, namespace, "a")
    with pytest.raises(AetherError, match="is not open"):
        await node.drain()
    async with node:
        await node.settled()
        assert (node.members["a"].draining, len(node.shards)) == (False, 1021)
    with pytest.raises(AetherError, match="is not open"):
        await node.drain()


@pytest.mark.parametrize("verb", ["No Such", "", "turn\r\nPUB x 0\r\n\r\n", "a.b", "*"])
async def test_what_is_no_verb_is_refused_before_anything_is_sent(nats_server: EmbeddedServer, namespace: str, verb: str) -> None:
    """What nodes cannot be asked is refused by name, and does not reach the connection, which it would break."""
    async with join(nats_server.url, namespace, "a") as node:
        connects = node._parts.connection.client.stats["reconnects"]
        with pytest.raises(ValueError, match="a verb is"):
            await node.request("a", verb, b"", asyncio.get_running_loop().time() + 20)
        await node.settled()
        assert node._parts.connection.client.stats["reconnects"] == connects
