"""What an account of a cluster must be allowed, and no more: the lists of docs/guide/cluster.md, tried on a strict server."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest
from clustering import balanced, join
from command_line import aether
from faults.waiting import until

from aether import ActorHost, CommandUnknownError, EmbeddedServer, LeaderElection
from aether.cli.demo_node import Account

NAMESPACE = "shop"
COORD = f"AETHER-COORD-{NAMESPACE}"


def node_may() -> dict[str, list[str]]:
    """What the guide says that an account of nodes needs."""
    publish = [f"{kind}.{NAMESPACE}.>" for kind in ("aether", "aether-snap", "aether-coord", "aether-node")] + ["_INBOX.>"]
    for stream in (f"AETHER-EVENTS-{NAMESPACE}", f"AETHER-SNAPSHOTS-{NAMESPACE}", COORD):
        publish += [f"$JS.API.STREAM.{call}.{stream}" for call in ("INFO", "CREATE", "MSG.GET")]
        publish += [f"$JS.API.DIRECT.GET.{stream}"]
    publish += [f"$JS.API.CONSUMER.{call}.{COORD}.>" for call in ("CREATE", "DELETE")]
    return {"publish": publish, "subscribe": ["_INBOX.>", f"aether-node.{NAMESPACE}.>"]}


def candidate_may() -> dict[str, list[str]]:
    """What the guide says that an account needs that may only elect."""
    publish = [f"aether-coord.{NAMESPACE}.>", f"$JS.API.STREAM.INFO.AETHER-EVENTS-{NAMESPACE}"]
    publish += [f"$JS.API.STREAM.{call}.{COORD}" for call in ("INFO", "CREATE", "MSG.GET")]
    publish += [f"$JS.API.CONSUMER.{call}.{COORD}.>" for call in ("CREATE", "DELETE")]
    return {"publish": publish, "subscribe": ["_INBOX.>"]}


def strict(permissions: Any, **more: Any) -> EmbeddedServer:
    """A server whose user `u` has these permissions."""
    users = [{"user": "u", "password": "p", "permissions": permissions}, {"user": "any", "password": "p"}]
    return EmbeddedServer(settings={"authorization": {"users": users}, **more})


def as_user(server: EmbeddedServer, user: str = "u") -> str:
    """Its URL for a user."""
    return server.url.replace("nats://", f"nats://{user}:p@")


def denials(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Everything that the server denied by what was logged."""
    return [record.getMessage() for record in caplog.records if "ermissions" in record.getMessage()]


async def test_nodes_hosts_and_commands_need_no_more_than_the_guide_says(caplog):
    """Nodes, hosts, snapshots and every `aether cluster` command work for the guide's account, and nothing is denied."""
    caplog.set_level(logging.INFO, "aether")
    async with strict(node_may()) as server:
        url = as_user(server)
        async with (
            join(url, NAMESPACE, "a") as one,
            join(url, NAMESPACE, "b") as two,
            ActorHost(one, Account, snapshot_every=2) as host,
            ActorHost(two, Account, snapshot_every=2),
        ):
            await balanced(one, two)
            actors = [f"account-{number}" for number in range(20)]
            for _ in range(3):
                await asyncio.gather(*(host.ask(actor, {"deposit": 1}) for actor in actors))
            await until(lambda: host.stats().snapshots > 0)
            assert {owner.name for actor in actors if (owner := one.owner_of(actor))} == {"a", "b"}
            assert [event async for batch in one.store.read_all() for event in batch]
            for words in (["status"], ["members"], ["shards"], ["drain", "a", "--timeout", "60"]):
                where = ("--url", url, "--namespace", NAMESPACE, "--json")
                result = await asyncio.to_thread(aether, "cluster", *words, *where)
                assert result.code == 0, (words, result.err)
                assert json.loads(result.out)
            await two.settled(timeout_s=60)
            assert await host.ask("account-1", {"deposit": 1})
        assert denials(caplog) == []


async def test_an_election_needs_no_more_than_the_guide_says(caplog):
    """One candidate after another leads under the guide's account for elections, and nothing is denied."""
    caplog.set_level(logging.INFO, "aether")
    async with strict(candidate_may()) as server:
        for candidate in ("one", "two"):
            election = LeaderElection(as_user(server), group="g", namespace=NAMESPACE, candidate=candidate, ttl=60)
            async with election, election.leadership(timeout_s=60) as term:
                assert term.valid
        assert denials(caplog) == []


@pytest.mark.parametrize("more", [{}, {"allow_responses": True}], ids=["nothing", "allow_responses"])
async def test_a_node_that_may_not_answer_says_so(caplog, more):
    """Where the account may not publish to inboxes, the node that answers warns, once, and names what is missing."""
    may = node_may()
    may["publish"].remove("_INBOX.>")
    async with (
        strict({**may, **more}) as server,
        join(as_user(server), NAMESPACE, "a", drain_s=1.0) as one,
        join(as_user(server, "any"), NAMESPACE, "b", weight=0) as two,
        ActorHost(one, Account),
        ActorHost(two, Account) as host,
    ):
        await one.settled(timeout_s=60)
        for _ in range(2):
            with pytest.raises(CommandUnknownError):
                await host.ask("account-1", {"deposit": 1}, timeout_s=1)
        told = [record.getMessage() for record in caplog.records if "answers to others are denied" in record.getMessage()]
        assert len(told) == 1
        assert "publish to _INBOX.>" in told[0]
        assert "aether-node.shop.a" in told[0]
