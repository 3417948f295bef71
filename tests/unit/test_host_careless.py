# ruff: noqa: D102 - what `apply` and `handle` do is said by `Behaviour`
"""Actors whose code is not what it should be: whoever asks is told at once, and the actor goes on."""

from __future__ import annotations

import asyncio
import time

import pytest

from aether import CommandFailedError, CommandUnknownError, NewEvent
from aether.cluster.host import ActorHost
from aether.codec import encode


class Unspeakable(Exception):  # noqa: N818 - its name is of no matter
    """An exception that has no text."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


class Counter:
    """Counts, or raises what it is told to."""

    initial = 0

    def apply(self, state, event):
        if event.data == "cancelled":
            raise asyncio.CancelledError
        return state + 1

    def handle(self, state, command):
        match command:
            case "unspeakable":
                raise Unspeakable
            case "cancelled":
                raise asyncio.CancelledError
        return NewEvent("Counted", command), state + 1


async def test_whatever_an_actor_raises_fails_its_command(cluster):
    """An exception whose text raises, and one that elsewhere means a cancelled task, fail the command like any other."""
    async with ActorHost(cluster.node("a"), lambda _: Counter()) as a, ActorHost(cluster.node("b"), lambda _: Counter()) as b:
        for host in (a, b):
            with pytest.raises(CommandFailedError, match="Unspeakable: its text raised RuntimeError"):
                await host.ask("x", "unspeakable")
            with pytest.raises(CommandFailedError, match="CancelledError"):
                await host.ask("x", "cancelled")
        assert await b.ask("x", 1) == 1
        assert (a.stats().failed, a.stats().loads) == (4, 1)


class Cancelling(Counter):
    """An actor whose events do not take themselves."""

    def handle(self, state, command):
        return NewEvent("Counted", command), state


async def test_an_apply_that_is_cancelled_stores_nothing(cluster):
    """What `apply` raises, whatever it is, keeps an event out of the store."""
    async with ActorHost(cluster.node("a"), lambda _: Cancelling()) as host:
        with pytest.raises(CommandFailedError, match="CancelledError"):
            await host.ask("x", "cancelled")
        assert await host.ask("x", "fine") == 0
    assert [event.data for event in await cluster.log.get_events("x")] == ["fine"]


class AsyncApply(Counter):
    """One that believes it may wait."""

    async def apply(self, state, event):
        return state + 1


class AsyncHandle(Counter):
    """Another."""

    async def handle(self, state, command):
        return NewEvent("Counted", command)


@pytest.mark.parametrize(("made", "name"), [(AsyncApply, "apply"), (AsyncHandle, "handle")])
async def test_a_coroutine_function_is_refused(cluster, made, name):
    """A behaviour whose function is a coroutine function is refused by name, before its state could become a coroutine."""
    async with ActorHost(cluster.node("a"), lambda _: made()) as host:
        with pytest.raises(CommandFailedError, match=f"TypeError: {name} of {made.__name__} is a coroutine function"):
            await host.ask("x", 1)
    assert await cluster.log.get_latest_version("x") == 0


async def test_a_factory_that_makes_nothing_is_refused(cluster):
    """A behaviour in place of the function that makes one is refused when the host is made."""
    with pytest.raises(TypeError, match="factory is called with an actor's id"):
        ActorHost(cluster.node("a"), Counter())


class Incomparable:
    """A state that cannot be compared."""

    __hash__ = None

    def __init__(self, count):
        self.count = count

    def __eq__(self, other):
        raise ArithmeticError("neither equal nor not")


class Comparing:
    """An actor whose state is like that."""

    initial = Incomparable(0)

    def apply(self, state, event):
        return Incomparable(state.count + 1)

    def handle(self, state, command):
        return NewEvent("Counted"), state.count + 1

    def encode(self, state):
        return state.count


async def test_a_state_that_cannot_be_compared_gets_no_snapshot(cluster, caplog):
    """A state whose comparison raises gets no snapshot, the log says so, and the command, which is stored, is answered."""
    async with ActorHost(cluster.node("a"), lambda _: Comparing(), snapshot_every=2) as host:
        assert [await host.ask("x", None) for _ in range(5)] == [1, 2, 3, 4, 5]
        assert (host.stats().loads, host.stats().snapshots, host.stats().repeated) == (1, 0, 0)
    assert "no snapshot of 'x'" in caplog.text
    assert "neither equal nor not" in caplog.text


async def test_an_error_that_nobody_expects_is_told_and_the_actor_goes_on(cluster, caplog, monkeypatch):
    """A store that raises what it should not leaves the command unknown, is logged, and holds up no other command."""
    async with ActorHost(cluster.node("a"), lambda _: Counter()) as host:
        store = cluster.nodes["a"].store

        async def broken(events):
            raise ZeroDivisionError("a mistake of ours")

        with monkeypatch.context() as broken_store:
            broken_store.setattr(store, "save_events", broken)
            asks = [asyncio.create_task(host.ask("x", number, timeout_s=1)) for number in range(2)]
            for ask in asks:
                with pytest.raises(CommandUnknownError):
                    await ask
        assert "an error that nobody expected" in caplog.text
        assert "a mistake of ours" in caplog.text
        assert await host.ask("x", 1) == 1


async def test_code_that_costs_each_node_its_lease_is_tried_once_on_each(cluster, monkeypatch, caplog):
    """A command that holds the loop until the node's lease has ended is tried elsewhere, and fails when it comes round again."""
    monkeypatch.setattr("aether.cluster.actor_runner.SLOW_S", 0.01)
    tried = []

    class Slow(Counter):
        def handle(self, state, command):
            if command != "fine":
                tried.append(cluster.owner)
                time.sleep(0.02)
                cluster.give("b" if cluster.owner == "a" else "a")
            return NewEvent("Counted"), state + 1

    async with ActorHost(cluster.node("a"), lambda _: Slow()) as a, ActorHost(cluster.node("b"), lambda _: Slow()):
        with pytest.raises(CommandFailedError, match=r"TimeoutError: its code held the event loop of 'a' for \d"):
            await a.ask("x", "slow", command_id="poison")
        assert tried == ["a", "b"]
        with pytest.raises(CommandFailedError, match="TimeoutError"):
            await a.ask("x", "slow", command_id="poison")
        assert tried == ["a", "b"]
        assert caplog.text.count("its code held the event loop") == 2
        assert await a.ask("x", "fine") == 1
    assert await cluster.log.get_latest_version("x") == 1


PAYLOAD_BYTES_MAX, DEPTH_MAX = 1_000_000, 32
"""Of the codec."""


def nested(levels):
    """Return a list in a list, and so on."""
    state = []
    for _ in range(levels - 1):
        state = [state]
    return state


class Returning(Counter):
    """An actor whose state is the same after each event."""

    def __init__(self, state):
        self.state = state

    def apply(self, state, event):
        return self.state

    def handle(self, state, command):
        return NewEvent("Counted"), "stored"


@pytest.mark.parametrize("state", ["x" * (PAYLOAD_BYTES_MAX - 10), nested(DEPTH_MAX)], ids=["large", "deep"])
async def test_a_state_that_fits_no_snapshot_fails_no_command(cluster, caplog, state):
    """A state that is stored in no snapshot, as the remembered commands lie beside it, leaves the command done and answered."""
    assert encode(state)
    async with ActorHost(cluster.node("a"), lambda _: Returning(state), snapshot_every=2) as host:
        assert [await host.ask("x", None) for _ in range(5)] == ["stored"] * 5
        assert (host.stats().loads, host.stats().handled, host.stats().snapshots) == (1, 5, 0)
    assert "no snapshot of 'x'" in caplog.text


async def test_a_snapshot_that_ends_in_an_error_nobody_expects_fails_no_command(cluster, caplog, monkeypatch):
    """Whatever goes wrong with a snapshot, the command whose events are stored is answered, and the log has the error."""

    def fail(_):
        raise RuntimeError("out of order")

    monkeypatch.setattr("aether.cluster.actors.Actor.snapshot", fail)
    async with ActorHost(cluster.node("a"), lambda _: Counter(), snapshot_every=2) as host:
        assert [await host.ask("x", None) for _ in range(3)] == [1, 2, 3]
        assert (host.stats().loads, host.stats().repeated) == (1, 0)
    assert "out of order" in caplog.text
