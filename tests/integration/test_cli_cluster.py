"""`aether cluster`, and `aether demo --cluster`."""

from __future__ import annotations

import asyncio
import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from command_line import Result, aether, running
from processes import wait_until_gone

from aether.cluster import ClusterNode

if TYPE_CHECKING:
    from aether import EmbeddedServer


async def typed(server: EmbeddedServer, namespace: str, *words: str) -> Result:
    """Run `aether cluster` on a namespace of the server."""
    where = ("--url", server.url, "--namespace", namespace)
    return await asyncio.to_thread(aether, "cluster", *words, *where)


def join(server: EmbeddedServer, namespace: str, name: str, **options: Any) -> ClusterNode:
    """Make a node with patience for a busy machine."""
    return ClusterNode.join(server.url, namespace=namespace, node_id=name, **{"timeout_s": 20, "ttl": 60, **options})


async def test_a_cluster_is_shown(nats_server: EmbeddedServer, namespace: str) -> None:
    """Leader, nodes and shards are those that there are, as lines and as JSON, and an actor's owner is found."""
    async with (
        join(nats_server, namespace, "a", address="host:1", labels={"zone": "x"}) as a,
        join(nats_server, namespace, "b") as b,
        join(nats_server, namespace, "c", weight=0),
    ):
        await a.settled(timeout_s=60)
        await b.settled(timeout_s=60)
        shown = await typed(nats_server, namespace, "status")
        assert shown.code == 0, shown.err
        for text in (f"leader     {a.leader}", "1,021 of 1,021 owned, 0 moving", "host:1", "zone=x"):
            assert text in shown.out
        told = (await typed(nats_server, namespace, "status", "--json")).told
        assert (told["leader"], told["unowned"], told["settled"]) == (a.leader, 0, True)
        assert [(node["name"], node["state"]) for node in told["nodes"]] == [("a", "active"), ("b", "active"), ("c", "active")]
        assert sorted(node["shards"] for node in told["nodes"]) == [0, 510, 511]
        assert told["nodes"] == (await typed(nats_server, namespace, "members", "--json")).told["nodes"]
        shards = (await typed(nats_server, namespace, "shards", "--json")).told["shards"]
        assert {name: set(numbers) for name, numbers in shards.items()} == {"a": {*a.shards}, "b": {*b.shards}, "c": set()}
        found = (await typed(nats_server, namespace, "shards", "--actor", "order-1", "--json")).told
        owner = a.owner_of("order-1")
        assert owner is not None
        assert (found["owner"], found["moving_to"]) == (owner.name, None)


async def test_a_node_is_drained(nats_server: EmbeddedServer, namespace: str) -> None:
    """Drain returns when the node has no shard any more; it stays a member, and the last one that takes shards is not drained."""
    async with join(nats_server, namespace, "a") as a, join(nats_server, namespace, "b") as b:
        await a.settled(timeout_s=60)
        await b.settled(timeout_s=60)
        drained = await typed(nats_server, namespace, "drain", "b", "--timeout", "60", "--json")
        assert drained.code == 0, drained.err
        assert (drained.told["node"], drained.told["shards"]) == ("b", 510 if len(a.shards) == 511 else drained.told["shards"])
        await a.settled(timeout_s=60)
        assert (len(a.shards), len(b.shards)) == (1021, 0)
        nodes = (await typed(nats_server, namespace, "members", "--json")).told["nodes"]
        assert [node["state"] for node in nodes] == ["active", "draining"]
        again = await typed(nats_server, namespace, "drain", "a")
        assert (again.code, "no other node takes shards" in again.err) == (1, True)
        unknown = await typed(nats_server, namespace, "drain", "z")
        assert (unknown.code, "there is no node 'z'; there are: a, b" in unknown.err.replace(" in the cluster", "")) == (1, True)


async def test_what_is_no_cluster_is_told(nats_server: EmbeddedServer, namespace: str) -> None:
    """Looking at a namespace without a cluster makes none, and one whose nodes are gone has shards without a node."""
    for command in ("status", "members", "shards"):
        shown = await typed(nats_server, namespace, command)
        assert (shown.code, "has no cluster" in shown.err) == (1, True)
    async with join(nats_server, namespace, "a") as a:
        await a.settled(timeout_s=60)
    told = await typed(nats_server, namespace, "status", "--json")
    assert (told.code, json.loads(told.out)["unowned"]) == (1, 1021)


def test_the_cluster_demo_verifies_every_answer() -> None:
    """Through a kill, a return and a leave no command fails, each is in the stream once, and its JSON says what was measured."""
    done = aether("demo", "--cluster", "--sync", "60", "--json")
    assert done.code == 0, done.err
    told = done.told
    assert (told["verified"], told["failures"]) == (True, [])
    assert told["audit"]["commands"] >= told["audit"]["acked"] > 120
    assert told["audit"]["takeovers"] >= 1021 + 340 + 340 + 340
    assert told["kill"]["accounts"] > 10
    assert told["kill"]["expired_s"] > 0.5
    assert (told["kill"]["failed"], told["return"]["failed"], told["leave"]["failed"]) == (0, 0, 0)
    assert sorted(told["return"]["now"].values()) == [340, 340, 341]


@pytest.mark.usefixtures("longer")
def test_the_cluster_demo_prints_plain_lines_and_fails_if_the_stream_is_not_what_was_answered() -> None:
    """A pipe gets the story without colours; with one message of the dump taken away the exit code is 1, and it is named."""
    plant = """
import sys
from aether.cli import cluster_audit, run

stock_dump = cluster_audit.raw_dump

async def dump(url, namespace):
    taken = await stock_dump(url, namespace)
    lost = next(index for index in range(len(taken) - 1, 0, -1) if not taken[index].subject.endswith("=epoch"))
    del taken[lost]
    return taken

cluster_audit.raw_dump = dump
sys.exit(run(sys.argv[1:]))
"""
    done = aether("demo", "--cluster", "--sync", "60", program=plant)
    assert done.code == 1
    assert "\x1b" not in done.out
    assert "kill -9" in done.out
    assert re.search(r"missing: the command [0-9a-f]{16} of account-\d+", done.out)
    assert "FAILED: the stream is not what was answered." in done.out


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_cluster_demo_that_is_ended_leaves_nothing_behind(
    number: signal.Signals, code: int, request: pytest.FixtureRequest
) -> None:
    """At Ctrl-C, and even when it is killed, its node processes and its server end with it."""
    if number == signal.SIGKILL:
        request.getfixturevalue("longer")
    with running("demo", "--cluster", "--sync", "60") as demo:
        demo.wait_for("2  Load")
        pids = [int(pid) for pid in re.findall(r"process (\d+)", demo.out)]
        assert len(pids) == 4
        demo.process.send_signal(number)
        assert demo.process.wait(60) == code
        wait_until_gone(*pids)
