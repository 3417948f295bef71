"""Requests between nodes: answers that fit no message, and more requests than a node takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from faults.waiting import until

from aether import ActorHost, AetherError, ClusterNode, CommandFailedError, DeadlineError, RequestFailedError
from aether.nats.errors import NobodyListensError

if TYPE_CHECKING:
    from aether import EmbeddedServer


class Wordy:
    """An actor that says much."""

    initial = None

    def __init__(self, actor_id: str) -> None:
        self.actor_id = actor_id

    def apply(self, state: object, event: object) -> None:
        """Return nothing: there is no state."""

    def handle(self, state: object, command: str) -> tuple[None, str]:
        """Raise, or reply what no message takes."""
        if command == "raise":
            raise ValueError("x" * 2_000_000)
        return None, "x" * 999_990


async def test_what_fits_no_message_is_told_at_once(nats_server: EmbeddedServer, namespace: str) -> None:
    """A long exception, and an answer larger than the server takes, reach whoever asked from another node, and at once."""

    async def big(body: bytes) -> bytes:
        return b"x" * 2_000_000

    url = nats_server.url
    async with (
        ClusterNode.join(url, namespace=namespace, node_id="a", ttl=60, timeout_s=20) as a,
        ClusterNode.join(url, namespace=namespace, node_id="b", ttl=60, timeout_s=20, weight=0) as b,
        ActorHost(a, Wordy),
        ActorHost(b, Wordy, timeout_s=20) as asker,
    ):
        await a.settled(timeout_s=60)
        a.serve("big", big)
        async with asyncio.timeout(60):  # which is less than whoever asks would wait
            with pytest.raises(CommandFailedError, match="ValueError: xxx"):
                await asker.ask("x", "raise", timeout_s=300)
            assert len(await asker.ask("x", "reply", timeout_s=300)) == 999_990
            with pytest.raises(RequestFailedError, match="are more than the server takes"):
                await b.request("a", "big", b"", asyncio.get_running_loop().time() + 300)


async def test_who_asks_at_a_closed_node_is_told_at_once(nats_server: EmbeddedServer, namespace: str) -> None:
    """A command that waits for an owner when its node is closed, and one that comes later, end at once and say why."""
    async with (
        ClusterNode.join(nats_server.url, namespace=namespace, node_id="a", weight=0, timeout_s=20) as node,
        ActorHost(node, Wordy) as host,
    ):
        waiting = asyncio.create_task(host.ask("x", "raise", timeout_s=300))
        await until(lambda: "x" in {name for _, name in host._asker._rooms})
        await node.aclose()
        async with asyncio.timeout(60):
            with pytest.raises(AetherError, match="'a' was closed, so nobody can be asked"):
                await waiting
            with pytest.raises(AetherError, match="'a' was closed, so nobody can be asked"):
                await host.ask("x", "raise", timeout_s=300)


async def test_requests_that_are_handled_are_bounded_in_bytes(
    nats_server: EmbeddedServer, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the bound whoever asks is told that the node is busy; a larger one is handled by itself, and room comes again."""
    monkeypatch.setattr("aether.cluster.calls.RUNNING_BYTES_MAX", 1_000)
    began, go_on = asyncio.Queue[int](), asyncio.Event()

    async def hold(body: bytes) -> bytes:
        began.put_nowait(len(body))
        await go_on.wait()
        return b"done"

    url = nats_server.url
    async with (
        ClusterNode.join(url, namespace=namespace, node_id="a", ttl=60, timeout_s=20) as a,
        ClusterNode.join(url, namespace=namespace, node_id="b", ttl=60, timeout_s=20, weight=0) as b,
    ):
        a.serve("hold", hold)
        deadline = asyncio.get_running_loop().time() + 60
        large = asyncio.create_task(b.request("a", "hold", bytes(5_000), deadline))
        assert await began.get() == 5_000
        with pytest.raises(NobodyListensError, match="'a' is too busy"):
            await b.request("a", "hold", bytes(1), deadline)
        go_on.set()
        assert await large == b"done"
        assert await b.request("a", "hold", bytes(1_000), deadline) == b"done"


async def test_a_node_without_a_host_is_named_with_the_remedy(nats_server: EmbeddedServer, namespace: str) -> None:
    """A command for a node that has no host fails with its name and the remedy; one that is asked meanwhile waits for a host."""
    url = nats_server.url
    async with (
        ClusterNode.join(url, namespace=namespace, node_id="a", ttl=60, timeout_s=20) as a,
        ClusterNode.join(url, namespace=namespace, node_id="b", ttl=60, timeout_s=20, weight=0) as b,
        ActorHost(b, Wordy, timeout_s=20) as asker,
    ):
        await a.settled(timeout_s=60)
        with pytest.raises(DeadlineError, match=r"'a': no ActorHost runs on that node.*ActorHost\(node, factory\).*weight=0"):
            await asker.ask("x", "reply", timeout_s=1)
        early = asyncio.create_task(asker.ask("x", "reply"))
        await until(lambda: asker.stats().sent > 1)
        async with ActorHost(a, Wordy):
            assert len(await early) == 999_990
        with pytest.raises(NobodyListensError, match="no node 'gone' of the namespace"):
            await b.request("gone", "ask", b"", asyncio.get_running_loop().time() + 20)
