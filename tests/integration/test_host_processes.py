"""Actors on several processes: owners are killed, frozen and ended under load, and each command is done once."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from hosting import LONG_TTL_S, audit, cluster, counts, until

from aether import NewEvent
from aether.cli.cluster_audit import judge, raw_dump
from aether.cluster import ActorHost

if TYPE_CHECKING:
    from conftest import Size
    from hosting import Asking

    from aether import EmbeddedServer
    from aether.testing import NatsCluster


async def check(url: str, namespace: str, asking: Asking) -> None:
    """Every command was answered, and is in the stream once, as it was answered, under its shard's epoch."""
    await asking.end()
    found = await audit(url, namespace, asking)
    assert found.differences == dict.fromkeys(found.differences, 0), found.examples
    assert asking.failures == []
    assert found.commands == found.acked == len(asking.acked) > 100


async def test_commands_are_done_once_when_owners_are_killed(nats_server: EmbeddedServer, namespace: str, size: Size) -> None:
    """With kill -9 of one owner after another, each back under its name later, no command fails, is lost, or is done twice."""
    url = nats_server.url
    async with cluster(url, namespace, "a", "b", "c") as (workers, node, asking):
        await asking.more(40)
        for kill in range(size.pick(1, 3, 30)):
            name = "abc"[kill % 3]
            workers.kill(name)
            await until(lambda gone=name: gone not in counts(node), f"{name} owns nothing")
            await asking.more(40)
            await workers.start(name)
            await until(lambda back=name: counts(node).get(back, 0) > 200, f"{name} has its part again")
            await asking.more(40)
        await check(url, namespace, asking)


async def test_an_owner_that_was_frozen_writes_nothing_afterwards(
    nats_server: EmbeddedServer, namespace: str, size: Size
) -> None:
    """An owner that is stopped for longer than its lease, and goes on as a zombie, changes nothing that others decided."""
    url = nats_server.url
    async with cluster(url, namespace, "a", "b") as (workers, node, asking):
        await asking.more(40)
        for _ in range(size.pick(1, 2, 10)):
            workers.signal("a", signal.SIGSTOP)
            await until(lambda: "a" not in counts(node), "a owns nothing")
            await asking.more(40)
            workers.signal("a", signal.SIGCONT)
            await until(lambda: counts(node).get("a", 0) > 300, "a has its part again")
            await asking.more(40)
        await check(url, namespace, asking)


async def test_an_owner_that_leaves_costs_no_command(nats_server: EmbeddedServer, namespace: str) -> None:
    """While nodes leave in good order and come back no command fails, as one would that waits for a lease to expire."""
    url = nats_server.url
    async with cluster(url, namespace, "a", "b", ttl_s=LONG_TTL_S) as (workers, node, asking):
        await asking.more(40)
        await workers.leave("b")
        await until(lambda: counts(node).keys() == {"a"}, "a owns all")
        await asking.more(40)
        await workers.start("b")
        await until(lambda: counts(node).get("b", 0) > 300, "b has its part again")
        await asking.more(40)
        await check(url, namespace, asking)


async def test_commands_are_done_once_when_the_server_is_killed(fresh_nats_server: EmbeddedServer, namespace: str) -> None:
    """A server that is killed under load costs time, and no command: lost acks are found out, not guessed."""
    url = fresh_nats_server.url
    async with cluster(url, namespace, "a", "b", ttl_s=LONG_TTL_S) as (_, _, asking):
        await asking.more(40)
        for _ in range(2):
            await fresh_nats_server.kill()
            await fresh_nats_server.restart()
            await asking.more(40)
        await check(url, namespace, asking)


async def test_commands_are_done_once_when_the_leader_of_the_log_is_killed(nats_cluster: NatsCluster, namespace: str) -> None:
    """On three NATS servers the one that leads the namespace's log is killed under load: it costs time, and no command."""
    url = ",".join(nats_cluster.urls)
    async with cluster(url, namespace, "a", "b", ttl_s=3, replicas=3) as (_, _, asking):
        await asking.more(40)
        leader = await nats_cluster.leader_of(f"AETHER-EVENTS-{namespace}")
        await nats_cluster.kill(leader)
        await asking.more(40)
        await nats_cluster.restart(leader)
        await asking.more(40)
        await check(url, namespace, asking)


class Twice:
    """An account whose host forgot what it was asked: a planted bug."""

    initial = 0

    def __init__(self, actor_id: str) -> None:
        self.actor_id = actor_id

    def apply(self, state: int, event: object) -> int:
        """Return the same state whatever happened."""
        return state

    def handle(self, state: int, command: dict[str, int]) -> tuple[NewEvent, dict[str, int]]:
        """Reply something else than the event says."""
        return NewEvent("Deposited", {"cents": command["deposit"], "balance": 1}), {"cents": 0, "balance": 0}


async def test_the_audit_finds_an_answer_that_its_event_does_not_bear_out(nats_server: EmbeddedServer, namespace: str) -> None:
    """An actor that replies otherwise than it stores is found by the same audit."""
    from aether.cluster import ClusterNode

    async with ClusterNode.join(nats_server.url, namespace=namespace, node_id="a", ttl=60, timeout_s=20) as node:
        async with ActorHost(node, Twice) as host:
            replied = await host.ask("account-1", {"deposit": 5}, command_id="c", timeout_s=60)
        found = judge(await raw_dump(nats_server.url, namespace), {("account-1", "c"): replied})
        assert found.differences == {**dict.fromkeys(found.differences, 0), "altered": 1}
