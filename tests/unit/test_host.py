"""The actor host over a cluster in memory: asks from any node, moves under way, lost questions and answers, end and misuse."""

from __future__ import annotations

import asyncio

import pytest
from command_storm import Account, hosts, versions
from memory_cluster import eventually

from aether import (
    AetherError,
    CommandFailedError,
    CommandUnknownError,
    DeadlineError,
    EncodeError,
    InvalidIdError,
    OutcomeUnknownError,
)
from aether.cluster import asking
from aether.cluster.host import ActorHost


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


async def test_a_command_at_a_silent_node_goes_on_when_the_actor_moves(cluster, monkeypatch):
    """Whoever waits for a node that died asks the new owner as soon as there is one, not only when his time is up."""
    monkeypatch.setattr(asking, "RESEND_S", 300.0)
    async with hosts(cluster, "a", "b", "c", timeout_s=300) as (_, b, c):
        cluster.lost_requests = 1
        ask = asyncio.create_task(c.ask("x", 4))
        await eventually(lambda: len(cluster.requests) == 1)
        del cluster.nodes["a"].handlers["ask"]
        cluster.give("b")
        assert await asyncio.wait_for(ask, 60) == 4
        assert b.stats().handled == 1


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
            await b.ask("x", 4, timeout_s=1)
        assert isinstance(unknown.value, OutcomeUnknownError)
        assert await b.ask("x", 4, command_id=unknown.value.command_id) == 4
        assert [count for _, count in await versions(cluster, "x")] == [4]


async def test_nobody_to_ask_is_told_as_nothing_done(cluster):
    """Without an owner, or with one that hosts no actors, the deadline says that nothing was done, and why."""
    async with hosts(cluster, "a") as (a,):
        cluster.node("b")
        cluster.give("b")
        with pytest.raises(DeadlineError, match="'b': nobody listens on the subject"):
            await a.ask("x", 1, timeout_s=0.5)
        cluster.give(None, taken=False)
        with pytest.raises(DeadlineError, match="nobody is known to own it"):
            await a.ask("x", 1, timeout_s=0.5)
        cluster.give("a", taken=False)
        with pytest.raises(DeadlineError, match="neither its turn nor its shard came in time"):
            await a.ask("x", 1, timeout_s=0.5)


async def test_two_nodes_that_name_each_other_are_not_asked_in_a_hot_loop(cluster):
    """A command that is sent to and fro is sent a few times a second, until its deadline."""
    async with hosts(cluster, "a", "b", "c") as (_, _, c):
        cluster.give(None, taken=False)
        cluster.nodes["a"].sees, cluster.nodes["b"].sees, cluster.nodes["c"].sees = "b", "a", "a"
        with pytest.raises(DeadlineError):
            await c.ask("x", 1, timeout_s=1)
        assert 2 <= len(cluster.requests) <= 20


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


async def test_all_who_close_a_host_return_when_it_has_ended(cluster):
    """Whoever closes a host while another does waits for the same end, so nobody ends its node before that."""
    async with hosts(cluster, "a") as (a,):
        cluster.nodes["a"].store.gate.clear()
        ask = asyncio.create_task(a.ask("x", 1))
        await eventually(lambda: a.stats().waiting == 1)
        closing = [asyncio.create_task(a.aclose()) for _ in range(3)]
        for _ in range(10):
            await asyncio.sleep(0)
        assert not any(task.done() for task in closing)
        cluster.nodes["a"].store.gate.set()
        await asyncio.gather(*closing)
        assert cluster.nodes["a"].handlers == {}
        assert await ask == 1


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


async def test_closing_that_is_cancelled_leaves_nothing(cluster):
    """A host whose closing is cancelled handles nothing more, leaves no task, and the node may have another host."""
    async with hosts(cluster, "a") as (a,):
        cluster.nodes["a"].store.gate.clear()
        ask = asyncio.create_task(a.ask("x", 1, timeout_s=0.5))
        await eventually(lambda: a.stats().waiting == 1)
        closing = asyncio.create_task(a.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert closing.cancelled()
        assert cluster.nodes["a"].handlers == {}
        with pytest.raises(CommandUnknownError):
            await ask
        assert a.stats().waiting == 0
        cluster.nodes["a"].store.gate.set()
        async with ActorHost(cluster.nodes["a"], Account) as other:
            assert await other.ask("x", 1) == 1
        ours = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("aether")]
        assert ours == []


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
