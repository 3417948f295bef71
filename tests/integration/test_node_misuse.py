"""Nodes that are used as they should not be: told so, and no harm done."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from clustering import join

from aether import AetherError, LocalEventBus, NewEvent, PublishingEventStore

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


@pytest.mark.parametrize(
    ("timeout_s", "error"), [(0, ValueError), (-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
async def test_what_is_no_time_to_wait_is_refused(
    nats_server: EmbeddedServer, namespace: str, timeout_s: Any, error: type[Exception]
) -> None:
    """What is no time is refused by name, instead of being waited for without an end, and changes nothing."""
    async with join(nats_server.url, namespace, "a") as node:
        for call in (node.settled, node.drain):
            with pytest.raises(error, match="timeout_s must be"):
                await asyncio.wait_for(call(timeout_s=timeout_s), 60)
        await node.settled()
        assert len(node.shards) == 1021


async def test_a_block_around_a_nodes_store_leaves_its_shards_open(nats_server: EmbeddedServer, namespace: str) -> None:
    """Whoever uses a node's store in a block of his own, as a store that publishes does, takes no shard from the node."""
    async with join(nats_server.url, namespace, "a") as node:
        await node.settled()
        epochs = {actor_id: node.epoch_of(actor_id) for actor_id in ("x", "y")}
        async with node.store as store:
            await store.append("x", NewEvent("e"))
        async with PublishingEventStore(node.store, LocalEventBus()) as publishing:
            await publishing.append("y", NewEvent("e"))
        assert {actor_id: node.epoch_of(actor_id) for actor_id in ("x", "y")} == epochs
        assert (await node.store.append("x", NewEvent("e"))).version == 2
    with pytest.raises(AetherError):
        await node.store.append("x", NewEvent("e"))
