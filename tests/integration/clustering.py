"""Nodes of one process on a real server, writers that never rest, and what the raw stream says of who wrote."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import msgspec
import nats
from faults.waiting import until

from aether import NewEvent, NotOwnerError
from aether._native import shard_of
from aether.cluster import ClusterNode

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

TIMEOUT_S = 20.0
LIMIT_S = 100.0
TTL_S = 180.0
"""So long that no node of a busy machine loses its lease, and that nothing that waits for one to expire comes in time."""


def join(url: Any, namespace: str, name: str, **options: Any) -> ClusterNode:
    """A node with patience for a busy machine; `ttl` is for those whose lease shall expire."""
    return ClusterNode.join(url, namespace=namespace, node_id=name, **{"timeout_s": TIMEOUT_S, "ttl": TTL_S, **options})


async def balanced(*nodes: ClusterNode, limit_s: float = LIMIT_S) -> None:
    """Wait until these share all shards, and nobody else has one."""

    def is_so() -> bool:
        counts = [len(node.shards) for node in nodes]
        return sum(counts) == 1021 and max(counts) - min(counts) <= 1

    await until(is_so, f"{[(node.node_id, len(node.shards)) for node in nodes]} share all shards", limit_s=limit_s)
    for node in nodes:
        await node.settled(timeout_s=limit_s)


def actors_of(shards: Iterable[int]) -> dict[int, str]:
    """One actor for each shard."""
    wanted, found, number = set(shards), {}, 0
    while len(found) < len(wanted):
        shard = shard_of(f"actor-{number}")
        if shard in wanted and shard not in found:
            found[shard] = f"actor-{number}"
        number += 1
    return found


async def crash(node: ClusterNode) -> None:
    """End a node as a killed process would: its connection is gone, and nothing is given back."""
    node._state = "closed"
    await node._parts.aclose()
    await node._parts.shards.aclose(0.0)


class Writer:
    """Appends to one actor for ever, at whichever node owns it; it goes where `NotOwnerError` tells it to.

    Attributes:
        acked: the position of each append that went well, with when it was begun and ended.
        failed: what an append raised, other than that another node owns the shard.
        sent_on: how often it was told to go elsewhere.
    """

    def __init__(self, nodes: Mapping[str, ClusterNode], actor_id: str, pause_s: float) -> None:
        self.nodes, self.actor_id, self.pause_s = nodes, actor_id, pause_s
        self.acked: list[tuple[int, float, float]] = []
        self.failed: list[BaseException] = []
        self.sent_on = 0
        self.longest_s = 0.0

    async def run(self, over: asyncio.Event) -> None:
        """Write until it is over."""
        name = ""
        while not over.is_set():
            began = time.monotonic()
            while True:
                node = self.nodes.get(name) or next(iter(self.nodes.values()))
                try:
                    appended = await node.store.append(self.actor_id, [NewEvent("counted", {})])
                except NotOwnerError as error:
                    self.sent_on += 1
                    name = error.owner or ""
                    await asyncio.sleep(0.002)
                except Exception as error:  # noqa: BLE001 - it is looked at in the end
                    self.failed.append(error)
                    break
                else:
                    self.acked.append((appended.position, began, time.monotonic()))
                    break
            self.longest_s = max(self.longest_s, time.monotonic() - began)
            await asyncio.sleep(self.pause_s)


async def dump(url: str, namespace: str) -> list[tuple[int, str, dict[str, Any]]]:
    """Every message of the event stream, read with the stock client and a msgpack reader: position, subject, body."""
    client = await nats.connect(url)
    try:
        js = client.jetstream()
        last = (await js.stream_info(f"AETHER-EVENTS-{namespace}")).state.last_seq
        consumer = await js.pull_subscribe(
            "", stream=f"AETHER-EVENTS-{namespace}", config=nats.js.api.ConsumerConfig(ack_policy=nats.js.api.AckPolicy.NONE)
        )
        found: list[tuple[int, str, dict[str, Any]]] = []
        while len(found) < last:
            found += [
                (message.metadata.sequence.stream, message.subject, msgspec.msgpack.decode(message.data))
                for message in await consumer.fetch(min(1000, last - len(found)), timeout=60)
            ]
        return found
    finally:
        await client.close()


def interleaved(messages: list[tuple[int, str, dict[str, Any]]]) -> list[str]:
    """What is wrong with the epochs of a raw stream: each commit must bear the epoch of the last record of its shard."""
    epochs: dict[str, int] = {}
    wrong = []
    for position, subject, body in messages:
        shard, token = subject.split(".")[2:]
        if token == "=epoch":
            epochs[shard] = position
        elif body.get("epoch") != epochs.get(shard):
            wrong.append(f"{position} on {subject}: epoch {body.get('epoch')}, the shard is in {epochs.get(shard)}")
    return wrong
