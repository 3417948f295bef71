"""What an actor host keeps in memory, until when that counts, and what it keeps no more of."""

from __future__ import annotations

import asyncio

import pytest
from command_storm import Account, hosts, versions
from memory_cluster import eventually

from aether import (
    DeadlineError,
    NewEvent,
    Snapshot,
)
from aether.cluster import asking


async def test_what_is_in_memory_counts_only_under_its_epoch(cluster):
    """An actor that was away is loaded anew, though it never left memory here."""
    async with hosts(cluster, "a", "b") as (a, b):
        assert await a.ask("x", 1) == 1
        cluster.give("b")
        assert await b.ask("x", 10) == 11
        cluster.give("a")
        assert await a.ask("x", "balance") == 11
        assert await a.ask("x", 100) == 111
        assert a.stats().loads == 2


async def test_a_zombie_writes_nothing_and_its_command_is_done_by_the_owner(cluster):
    """A node that believes in an epoch that is over is refused by the store; the command is done where the actor is."""
    async with hosts(cluster, "a", "b") as (a, b):
        assert await a.ask("x", 1) == 1
        cluster.nodes["a"].believes, cluster.nodes["a"].sees = cluster.epoch, "a"
        cluster.give("b")
        assert await b.ask("x", 10) == 11
        assert await a.ask("x", 100, timeout_s=60) == 111
        assert [count for _, count in await versions(cluster, "x")] == [1, 10, 100]


async def test_somebody_else_who_writes_is_noticed(cluster):
    """An event that was appended past the host makes the command be decided again, on what is really there."""
    async with hosts(cluster, "a") as (a,):
        assert await a.ask("x", 1) == 1
        await cluster.log.append("x", NewEvent("Deposited", 10))
        assert await a.ask("x", 100) == 111
        assert (a.stats().conflicts, a.stats().loads) == (1, 2)


async def test_an_answer_decided_on_what_is_over_is_not_given(cluster):
    """A question that was being handled when the shard went away is answered by the new owner."""
    async with hosts(cluster, "a", "b") as (a, b):
        store = cluster.nodes["a"].store
        store.gate.clear()
        ask = asyncio.create_task(a.ask("x", "balance"))
        await eventually(lambda: store.reads == 1)
        cluster.give("b")
        assert await b.ask("x", 3) == 3
        await asyncio.sleep(0)
        store.gate.set()
        assert await ask == 3


async def test_whoever_gives_up_leaves_nothing_half_done(cluster):
    """A cancelled caller's command goes on, and asking again finds it."""
    async with hosts(cluster, "a") as (a,):
        store = cluster.nodes["a"].store
        store.gate.clear()
        ask = asyncio.create_task(a.ask("x", 3, command_id="c"))
        await eventually(lambda: store.reads == 1)
        ask.cancel()
        await asyncio.wait([ask])
        store.gate.set()
        assert await a.ask("x", 3, command_id="c") == 3
        assert await versions(cluster, "x") == [("c", 3)]


async def test_an_idle_actor_leaves_memory_and_comes_back(cluster):
    """An actor that nobody asks for `idle_s` leaves, and is loaded again when it is asked."""
    async with hosts(cluster, "a", idle_s=0.05) as (a,):
        assert await a.ask("x", 1) == 1
        await eventually(lambda: a.stats().actors == 0)
        assert await a.ask("x", 1) == 2
        assert (a.stats().passivated >= 1, a.stats().loads) == (True, 2)


async def test_actors_in_memory_are_bounded(cluster):
    """No more than `actors_max` idle ones stay."""
    async with hosts(cluster, "a", actors_max=10) as (a,):
        await asyncio.gather(*(a.ask(f"x-{number}", 1) for number in range(100)))
        assert (a.stats().actors, a.stats().passivated) == (10, 90)


async def test_snapshots_shorten_loads_and_remember_commands(cluster):
    """An actor is loaded from its snapshot and the events behind it, and commands from before the snapshot are known."""
    async with hosts(cluster, "a", "b", snapshot_every=10) as (a, b):
        for number in range(25):
            await a.ask("x", 1, command_id=f"c-{number}")
        await eventually(lambda: a.stats().snapshots == 2)
        snapshot = await cluster.log.get_latest_snapshot("x")
        assert snapshot is not None
        assert (snapshot.version, snapshot.state["state"]) == (20, 20)
        cluster.give("b")
        assert await b.ask("x", "balance") == 25
        assert await b.ask("x", 1, command_id="c-3") == 4
        assert (b.stats().loads, Account.handled["x"]) == (1, 26)


async def test_without_snapshots_none_are_made(cluster):
    """`snapshot_every=None` neither saves nor reads any."""
    async with hosts(cluster, "a", snapshot_every=None) as (a,):
        for _ in range(3):
            await a.ask("x", 1)
        assert await cluster.log.get_latest_snapshot("x") is None


async def test_a_snapshot_that_does_not_fit_is_ignored(cluster, caplog):
    """Somebody else's snapshot is not used; the events are."""
    async with hosts(cluster, "a") as (a,):
        await cluster.log.append("x", NewEvent("Deposited", 10))
        await cluster.log.save_snapshot(Snapshot("x", 1, 99))
        assert await a.ask("x", "balance") == 10
        assert "the snapshot of 'x' at version 1 is not used" in caplog.text


async def test_too_many_commands_wait_elsewhere(cluster, monkeypatch):
    """Beyond the bound of commands that wait, whoever asks tries again until his deadline, and is told why it was in vain."""
    monkeypatch.setattr("aether.cluster.actor_runner.WAITING_MAX", 3)
    async with hosts(cluster, "a", "b") as (a, b):
        cluster.nodes["a"].store.gate.clear()
        asks = [asyncio.create_task(a.ask(f"x-{number}", 1)) for number in range(3)]
        await eventually(lambda: a.stats().waiting == 3)
        with pytest.raises(DeadlineError, match="3 commands wait there already"):
            await b.ask("y", 1, timeout_s=1)
        late = asyncio.create_task(b.ask("y", 1))
        cluster.nodes["a"].store.gate.set()
        assert await asyncio.gather(*asks, late) == [1] * 4


async def test_a_flood_of_commands_for_one_actor_waits_in_order(cluster, monkeypatch):
    """Of many commands for one actor only so many are sent at a time, in order, and all of them once, so nobody asks in vain."""
    monkeypatch.setattr(asking, "RESEND_S", 300.0)
    async with hosts(cluster, "a", "b") as (a, b):
        cluster.nodes["a"].store.gate.clear()
        asks = [asyncio.create_task(b.ask("x", 1)) for _ in range(1_000)]
        await eventually(lambda: a.stats().waiting == asking.ACTOR_MAX)
        with pytest.raises(DeadlineError, match="100 commands for it are on their way from here"):
            await b.ask("x", 1, timeout_s=0.05)
        cluster.nodes["a"].store.gate.set()
        assert await asyncio.gather(*asks) == [*range(1, 1_001)]
        assert len(cluster.requests) == 1_000
        assert not b._asker._rooms


async def test_a_flood_of_commands_for_one_node_waits_in_order(cluster, monkeypatch):
    """Of many commands for a node that does not answer only so many are sent at a time; when it has no actors they all go on."""
    monkeypatch.setattr(asking, "NODE_MAX", 10)
    monkeypatch.setattr(asking, "RESEND_S", 300.0)
    async with hosts(cluster, "a", "b", "c") as (a, b, c):
        cluster.nodes["a"].store.gate.clear()
        asks = [asyncio.create_task(c.ask(f"x-{number}", 1)) for number in range(100)]
        await eventually(lambda: a.stats().waiting == 10)
        with pytest.raises(DeadlineError, match="'a': 10 commands are on their way to it from here"):
            await c.ask("y", 1, timeout_s=0.05)
        assert len(cluster.requests) == 10
        cluster.give("b")
        assert await asyncio.gather(*asks) == [1] * 100
        assert b.stats().handled == 100
        cluster.nodes["a"].store.gate.set()
