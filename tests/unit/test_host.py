"""The actor host over a cluster in memory: asks from any node, moves under way, lost questions and answers, once for all."""

from __future__ import annotations

import asyncio
import time

import pytest
from command_storm import Account, Storm, hosts
from memory_cluster import FencedMemoryStore, MemoryCluster, MemoryNode, eventually

from aether import (
    AetherError,
    CommandFailedError,
    CommandUnknownError,
    DeadlineError,
    EncodeError,
    InvalidIdError,
    NewEvent,
    OutcomeUnknownError,
    Snapshot,
)
from aether.cluster import asking
from aether.cluster.actor_runner import ActorRunner
from aether.cluster.actors import Actor
from aether.cluster.host import ActorHost


@pytest.fixture(autouse=True)
def _count_anew():
    Account.handled.clear()


@pytest.fixture
def cluster() -> MemoryCluster:
    """A cluster without nodes."""
    return MemoryCluster()


async def versions(cluster: MemoryCluster, actor_id: str) -> list[tuple[str | None, int]]:
    """Return each stored event's command and what it deposited."""
    return [(event.command_id, event.data) for event in await cluster.log.get_events(actor_id)]


async def test_any_node_asks_any_actor(cluster):
    """A command gets the actor's reply, whether its node asks or another."""
    async with hosts(cluster, "a", "b") as (a, b):
        assert await a.ask("x", 5) == 5
        assert await b.ask("x", 2) == 7
        assert await b.ask("x", "balance") == 7
        assert [count for _, count in await versions(cluster, "x")] == [5, 2]
        assert cluster.requests == [("a", "ask")] * 2
        assert (a.stats().handled, a.stats().loads, b.stats().handled) == (3, 1, 0)


async def test_the_actors_own_error_reaches_whoever_asked(cluster):
    """What `handle` raises is raised where it was asked, with class and text, and nothing is written."""
    async with hosts(cluster, "a", "b") as both:
        for host in both:
            with pytest.raises(CommandFailedError, match="ValueError: cannot deposit -1") as failed:
                await host.ask("x", -1)
            assert (failed.value.actor_id, failed.value.kind) == ("x", "ValueError")
        assert await versions(cluster, "x") == []
        assert await both[1].ask("x", 3) == 3
        assert both[0].stats().loads == 1


class Wordy:
    """An actor that says much."""

    initial = None

    def __init__(self, actor_id):
        self.actor_id = actor_id

    def apply(self, state, event):
        """Return nothing: there is no state."""

    def handle(self, state, command):
        """Raise, or reply so many characters."""
        if command == "raise":
            raise type("É" * 1_000, (ValueError,), {})("é\ud800" * 1_000_000)
        return None, "x" * command


async def test_many_words_reach_whoever_asked(cluster):
    """Of a long exception the first words are told; a reply or command that no message takes fails, here and from elsewhere."""
    async with ActorHost(cluster.node("a"), Wordy) as a, ActorHost(cluster.node("b"), Wordy) as b:
        for node in cluster.nodes.values():
            node.message_bytes_max = 60_000
        for host in (a, b):
            with pytest.raises(CommandFailedError) as failed:
                await host.ask("x", "raise")
            assert (len(failed.value.kind), len(failed.value.text)) == (200, 2_003)
            with pytest.raises(CommandFailedError, match="a message of this server takes 58,976"):
                await host.ask("x", 59_000)
            assert await host.ask("x", 58_000) == "x" * 58_000
            with pytest.raises(EncodeError, match="a message of this server takes 58,976"):
                await host.ask("x", "y" * 59_000)


async def test_an_actor_that_cannot_be_made_is_told(cluster):
    """What the factory raises fails the command."""

    def factory(actor_id):
        raise LookupError(actor_id)

    async with ActorHost(cluster.node("a"), factory) as host:
        with pytest.raises(CommandFailedError, match="LookupError: x"):
            await host.ask("x", 1)


async def test_a_command_id_is_done_once(cluster):
    """A command that is asked again is answered as it was, and changes nothing, on its node, on another, and after a move."""
    async with hosts(cluster, "a", "b") as (a, b):
        assert await a.ask("x", 5, command_id="c-1") == 5
        assert await a.ask("x", 1) == 6
        assert await a.ask("x", 5, command_id="c-1") == 5
        assert await b.ask("x", 5, command_id="c-1") == 5
        cluster.give("b")
        assert await a.ask("x", 5, command_id="c-1") == 5
        assert await b.ask("x", "balance") == 6
        assert (a.stats().repeated, b.stats().repeated) == (2, 1)


async def test_copies_that_run_at_once_are_one(cluster):
    """Copies of a command that come while it is being handled get its reply, and it is handled once."""
    async with hosts(cluster, "a", "b") as (a, b):
        cluster.nodes["a"].store.gate.clear()
        asks = [asyncio.create_task(host.ask("x", 5, command_id="c-1")) for host in (a, b, a)]
        await eventually(lambda: a.stats().repeated == 2)
        cluster.nodes["a"].store.gate.set()
        assert await asyncio.gather(*asks) == [5, 5, 5]
        assert Account.handled["x"] == 1


async def test_an_actor_does_one_command_at_a_time_in_order(cluster):
    """Commands of one actor are done in the order in which they came, each on the state that the one before left."""
    async with hosts(cluster, "a") as (host,):
        replies = await asyncio.gather(*(host.ask("x", number) for number in range(100)))
        assert replies == [sum(range(number + 1)) for number in range(100)]
        assert (host.stats().loads, cluster.nodes["a"].store.reads) == (1, 1)


async def test_commands_wait_for_an_actor_that_is_moving_here(cluster):
    """A command that comes before its node has taken the shard waits there, and is done once it has."""
    async with hosts(cluster, "a", "b") as (a, b):
        assert await a.ask("x", 1) == 1
        cluster.give("b", taken=False)
        asks = [asyncio.create_task(host.ask("x", 10)) for host in (a, b)]
        await eventually(lambda: b.stats().waiting == 2)
        assert not any(ask.done() for ask in asks)
        cluster.take()
        assert sorted(await asyncio.gather(*asks)) == [11, 21]


async def test_a_command_follows_the_actor(cluster):
    """A node that does not own the actor names the one that does, and the command goes there."""
    async with hosts(cluster, "a", "b", "c") as (a, b, c):
        cluster.nodes["c"].sees = "a"  # which is behind the times
        cluster.give("b")
        assert await c.ask("x", 4) == 4
        assert cluster.requests == [("a", "ask"), ("b", "ask")]
        assert (a.stats().handled, b.stats().handled) == (0, 1)


async def test_a_command_at_a_silent_node_goes_on_when_the_actor_moves(cluster):
    """Whoever waits for a node that died asks the new owner as soon as there is one, not only when his time is up."""
    async with hosts(cluster, "a", "b", "c", timeout_s=30) as (_, b, c):
        cluster.lost_requests = 1
        began = time.monotonic()
        ask = asyncio.create_task(c.ask("x", 4))
        await eventually(lambda: len(cluster.requests) == 1)
        del cluster.nodes["a"].handlers["ask"]
        cluster.give("b")
        assert await ask == 4
        assert (b.stats().handled, time.monotonic() - began < asking.RESEND_S) == (1, True)


@pytest.mark.parametrize("lost", ["lost_requests", "lost_answers"])
async def test_what_is_lost_on_the_way_is_sent_again(cluster, monkeypatch, lost):
    """A lost question or answer costs time, and the command is done once."""
    monkeypatch.setattr(asking, "RESEND_S", 0.05)
    async with hosts(cluster, "a", "b") as (_, b):
        setattr(cluster, lost, 2)
        assert await b.ask("x", 4) == 4
        assert [count for _, count in await versions(cluster, "x")] == [4]
        assert len(cluster.requests) == 3


async def test_a_lost_ack_is_found_out(cluster):
    """After a write of which nobody could say whether it was stored the actor is loaded anew, and the copy finds it."""
    async with hosts(cluster, "a", "b") as (a, b):
        cluster.nodes["a"].store.lost_acks = 1
        assert await b.ask("x", 4) == 4
        assert [count for _, count in await versions(cluster, "x")] == [4]
        assert (a.stats().unknown, a.stats().loads, a.stats().repeated) == (1, 2, 1)


async def test_an_unknown_outcome_is_told_with_the_id_to_ask_again_with(cluster):
    """Where no copy is answered in time the error names the command, and asking again with its id finds what it did."""
    async with hosts(cluster, "a", "b") as (_, b):
        cluster.lost_answers = 1
        with pytest.raises(CommandUnknownError) as unknown:
            await b.ask("x", 4, timeout_s=0.3)
        assert isinstance(unknown.value, OutcomeUnknownError)
        assert await b.ask("x", 4, command_id=unknown.value.command_id) == 4
        assert [count for _, count in await versions(cluster, "x")] == [4]


async def test_nobody_to_ask_is_told_as_nothing_done(cluster):
    """Without an owner, or with one that hosts no actors, the deadline says that nothing was done, and why."""
    async with hosts(cluster, "a") as (a,):
        cluster.node("b")
        cluster.give("b")
        with pytest.raises(DeadlineError, match="'b': nobody listens on the subject"):
            await a.ask("x", 1, timeout_s=0.2)
        cluster.give(None, taken=False)
        with pytest.raises(DeadlineError, match="nobody is known to own it"):
            await a.ask("x", 1, timeout_s=0.2)
        cluster.give("a", taken=False)
        with pytest.raises(DeadlineError, match="it waited too long"):
            await a.ask("x", 1, timeout_s=0.2)


async def test_two_nodes_that_name_each_other_are_not_asked_in_a_hot_loop(cluster):
    """A command that is sent to and fro is sent a few times a second, until its deadline."""
    async with hosts(cluster, "a", "b", "c") as (_, _, c):
        cluster.give(None, taken=False)
        cluster.nodes["a"].sees, cluster.nodes["b"].sees, cluster.nodes["c"].sees = "b", "a", "a"
        with pytest.raises(DeadlineError):
            await c.ask("x", 1, timeout_s=1)
        assert 4 <= len(cluster.requests) <= 20


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
        assert await a.ask("x", 100, timeout_s=5) == 111
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


# Memory.


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


# Bounds and misuse.


async def test_too_many_commands_wait_elsewhere(cluster, monkeypatch):
    """Beyond the bound of commands that wait, whoever asks tries again until his deadline, and is told why it was in vain."""
    monkeypatch.setattr("aether.cluster.actor_runner.WAITING_MAX", 3)
    async with hosts(cluster, "a", "b") as (a, b):
        cluster.nodes["a"].store.gate.clear()
        asks = [asyncio.create_task(a.ask(f"x-{number}", 1)) for number in range(3)]
        await eventually(lambda: a.stats().waiting == 3)
        with pytest.raises(DeadlineError, match="3 commands wait there already"):
            await b.ask("y", 1, timeout_s=0.2)
        late = asyncio.create_task(b.ask("y", 1))
        cluster.nodes["a"].store.gate.set()
        assert await asyncio.gather(*asks, late) == [1] * 4


async def test_a_flood_of_commands_for_one_actor_waits_in_order(cluster):
    """Of many commands for one actor only so many are sent at a time, in order, and all of them once, so nobody asks in vain."""
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
    monkeypatch.setattr("aether.cluster.asking.NODE_MAX", 10)
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


async def test_closing_finishes_what_is_under_way(cluster):
    """Commands that wait when the host closes are done, later ones are refused, and the node has no handler any more."""
    async with hosts(cluster, "a") as (a,):
        cluster.nodes["a"].store.gate.clear()
        asks = [asyncio.create_task(a.ask("x", 1)) for _ in range(3)]
        await eventually(lambda: a.stats().waiting == 3)
        closing = asyncio.create_task(a.aclose())
        await asyncio.sleep(0)
        cluster.nodes["a"].store.gate.set()
        await closing
        assert await asyncio.gather(*asks) == [1, 2, 3]
        assert cluster.nodes["a"].handlers == {}
        with pytest.raises(AetherError, match="not open"):
            await a.ask("x", 1)


async def test_closing_takes_no_longer_than_it_may(cluster, caplog):
    """A command that does not finish in time is ended, and whoever asked learns that nobody can tell."""
    async with hosts(cluster, "a", timeout_s=0.3) as (a,):
        cluster.nodes["a"].store.gate.clear()
        ask = asyncio.create_task(a.ask("x", 1, timeout_s=1))
        await eventually(lambda: a.stats().waiting == 1)
        await a.aclose()
        with pytest.raises(CommandUnknownError):
            await ask
        assert "1 actors had not finished" in caplog.text


async def test_misuse(cluster):
    """What is no id, no command and no time is refused, and so are a second host on a node and entering twice."""
    async with hosts(cluster, "a") as (a,):
        with pytest.raises(InvalidIdError):
            await a.ask("", 1)
        for command_id in ("", "x" * 256, "\ud800"):
            with pytest.raises(InvalidIdError, match=r"command_id .*(1 to 255 are allowed|UTF-8 cannot write)"):
                await a.ask("x", 1, command_id=command_id)
        with pytest.raises(TypeError):
            await a.ask("x", 1, command_id=7)
        with pytest.raises(EncodeError):
            await a.ask("x", {1, 2})
        with pytest.raises(ValueError, match="timeout_s"):
            await a.ask("x", 1, timeout_s=0)
        with pytest.raises(TypeError, match="timeout_s must be a number of seconds, not str"):
            await a.ask("x", 1, timeout_s="1")
        with pytest.raises(AetherError, match="'a' has a host already"):
            await ActorHost(cluster.nodes["a"], Account).__aenter__()
        with pytest.raises(AetherError, match="entered already"):
            await a.__aenter__()
    for options in ({"remembered": 0}, {"actors_max": 0}, {"idle_s": 0}, {"snapshot_every": 0}, {"timeout_s": 0}):
        with pytest.raises(ValueError, match=next(iter(options))):
            ActorHost(cluster.nodes["a"], Account, **options)


async def test_a_foreign_question_is_refused(cluster):
    """What is no command fails, and one whose actor is none is answered so."""
    from aether import DecodeError
    from aether.cluster.commands import Command, decode_outcome, encode_frame

    async with hosts(cluster, "a"):
        handler = cluster.nodes["a"].handlers["ask"]
        for body in (b"", b"\xc0", b"\x81\xa1a\x01"):
            with pytest.raises(DecodeError, match="no command"):
                await handler(body)
        outcome = decode_outcome(await handler(encode_frame(Command("", "c", b"\x01", 1.0))))
        assert (outcome.kind, outcome.error) == ("failed", "InvalidIdError")
        outcome = decode_outcome(await handler(encode_frame(Command("x", "c", b"\xc1", 1.0))))
        assert (outcome.kind, outcome.error) == ("failed", "DecodeError")


# All of it at once.


@pytest.mark.parametrize("seed", range(6))
async def test_every_command_is_done_once_whatever_happens(cluster, monkeypatch, seed):
    """Under moves, lost questions, answers and acks, each command is stored once, however often asked, and replies fit events."""
    monkeypatch.setattr(asking, "RESEND_S", 0.05)
    assert await Storm(cluster, seed).run() == []


def forget_commands(monkeypatch):
    """Plant: an actor does not remember its commands."""
    monkeypatch.setattr(Actor, "_remember", lambda *_: None)


def forget_in_snapshots(monkeypatch):
    """Plant: a snapshot holds no commands."""
    snapshot = Actor.snapshot

    def without(actor: Actor) -> Snapshot | None:
        taken = snapshot(actor)
        return None if taken is None else Snapshot(taken.actor_id, taken.version, {**taken.state, "commands": []})

    monkeypatch.setattr(Actor, "snapshot", without)


def keep_what_is_in_memory(monkeypatch):
    """Plant: what is in memory counts under any epoch."""
    monkeypatch.setattr(MemoryNode, "epoch_of", lambda node, _: 1 if node.cluster.holder == node.node_id else None)
    monkeypatch.setattr(FencedMemoryStore, "check", lambda *_: None)


def keep_after_a_lost_ack(monkeypatch):
    """Plant: the state is kept though nobody can say whether its last events are stored."""
    monkeypatch.setattr(Actor, "is_ahead", property(lambda _: False, lambda *_: None), raising=False)
    told = ActorRunner._told

    def keeping(runner, resident, job, error):
        actor = resident.actor
        outcome = told(runner, resident, job, error)
        resident.actor = actor
        return outcome

    monkeypatch.setattr(ActorRunner, "_told", keeping)


@pytest.mark.parametrize("plant", [forget_commands, forget_in_snapshots, keep_what_is_in_memory, keep_after_a_lost_ack])
async def test_the_storm_finds_what_is_planted(monkeypatch, plant):
    """A host that forgets commands, or trusts memory that may be old, is found out by the same storm."""
    monkeypatch.setattr(asking, "RESEND_S", 0.05)
    plant(monkeypatch)
    for seed in range(20):
        if await Storm(MemoryCluster(), seed).run():
            return
    pytest.fail("nothing was found")
