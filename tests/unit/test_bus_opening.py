"""A bus's beginning and end: the first use, what fails on the way, loops, and subscriptions that a bus ends or interrupts."""

from __future__ import annotations

import asyncio

import pytest

from aether import AetherError, Event, LocalEventBus, NoSubscriberError
from aether.bus.base import BusInfo
from aether.testing.bus_contract_base import events, read, soon, until, versions

# Opening, closing, loops.


async def test_the_first_use_opens_it_once():
    """Many first uses at once subscribe each registered handler once, and go on when that is done."""
    bus = LocalEventBus()
    found = []

    @bus.on(dict, event_type="X")
    async def handler(value, event):
        await asyncio.sleep(0)
        found.append(event.version)

    await asyncio.gather(*(bus.publish(event) for event in events("a", range(1, 11), "X")))
    await until(lambda: len(found) == 10)
    await bus.aclose()
    assert found == [*range(1, 11)]


async def test_an_opening_that_failed_is_tried_again():
    """Where opening fails the error comes out, nothing stays subscribed, and the next use tries again."""

    class Flaky(LocalEventBus):
        fails = 1

        async def _attach(self, intake, deadline):
            if intake.options.event_type == "Second" and self.fails:
                self.fails -= 1
                raise AetherError("not yet")
            return await super()._attach(intake, deadline)

    bus = Flaky()
    found = []
    for name in ("First", "Second"):
        bus.on(type(None), event_type=name)(lambda _, event: found.append(event.event_type))
    with pytest.raises(AetherError, match="not yet"):
        await bus.start()
    assert len(bus._exchange) == 0
    await bus.publish_many([Event("a", "First", 1), Event("a", "Second", 2)])
    await until(lambda: sorted(found) == ["First", "Second"])
    await bus.aclose()


async def test_a_bus_that_cannot_be_entered_is_closed():
    """Where `async with` cannot open the bus it closes it, and the error comes out."""

    class Dead(LocalEventBus):
        async def _open(self, deadline):
            raise AetherError("dead")

    bus = Dead()
    with pytest.raises(AetherError, match="dead"):
        async with bus:
            pass
    with pytest.raises(AetherError, match="closed"):
        await bus.start()


async def test_a_subscription_that_fails_leaves_nothing():
    """Where subscribing fails nothing of it stays."""

    class Refusing(LocalEventBus):
        async def _attach(self, intake, deadline):
            await super()._attach(intake, deadline)
            raise AetherError("refused")

    async with Refusing() as bus:
        with pytest.raises(AetherError, match="refused"):
            await bus.subscribe()
        assert len(bus._exchange) == 0
        assert bus._subscriptions == {}
        with pytest.raises(NoSubscriberError):
            await bus.request(*events("a", [1]))


async def test_a_bus_belongs_to_one_loop():
    """From another event loop a bus refuses every call, as what waits there would never be woken."""
    async with LocalEventBus() as bus:
        refused = []

        def elsewhere():
            async def call():
                for attempt in (bus.publish(*events("a", [1])), bus.subscribe(), bus.start(), bus.aclose()):
                    with pytest.raises(AetherError, match="another event loop") as caught:
                        await attempt
                    refused.append(caught.value)

            asyncio.run(call())

        await asyncio.to_thread(elsewhere)
        assert len(refused) == 4


async def test_a_bus_that_was_never_used_is_closed():
    """A bus closes that was never opened, once and again."""
    bus = LocalEventBus()
    await bus.aclose()
    await bus.aclose()
    with pytest.raises(AetherError, match="closed; make a new one"):
        await bus.start()
    with pytest.raises(AetherError, match="closed; make a new one"):
        bus.on(dict)(print)


async def test_it_says_what_it_is():
    """`info` and `repr` say what this bus is."""
    async with LocalEventBus() as bus, await bus.subscribe(actor_prefix="a") as subscription:
        assert await bus.info() == BusInfo("local", "", "none", "", "process", 1_048_576)
        assert repr(bus) == "<LocalEventBus: 1 subscriptions>"
        assert repr(subscription) == "<subscription to actor_prefix='a': live, 0 pending>"
    assert repr(subscription) == "<subscription to actor_prefix='a': closed, 0 pending>"


@pytest.mark.parametrize("timeout_s", [0, -1, "1", None, True, 86_401])
def test_its_time_is_checked(timeout_s):
    """A bus needs a time that can be waited for."""
    with pytest.raises((TypeError, ValueError), match="timeout_s"):
        LocalEventBus(timeout_s=timeout_s)


# The intake's end by an error, as a bus with a server has it.


async def test_a_failure_comes_after_what_is_pending():
    """Where a bus ends a subscription, what is pending is read, then the reason is raised once, then it is over."""
    async with LocalEventBus() as bus:
        subscription = await bus.subscribe(actor_id="a")
        waits = await bus.subscribe(actor_id="b")
        reader = asyncio.ensure_future(anext(waits))
        await bus.publish_many(events("a", [1, 2]))
        await asyncio.sleep(0)
        for intake in list(bus._subscriptions):
            intake.fail(PermissionError("denied"))
        assert versions(await read(subscription, 2)) == [1, 2]
        with pytest.raises(PermissionError, match="denied"):
            await anext(subscription)
        with pytest.raises(StopAsyncIteration):
            await anext(subscription)
        with pytest.raises(PermissionError):
            await soon(reader)
        with pytest.raises(PermissionError):
            await soon(subscription.wait_closed())
        assert not subscription.is_live
        await subscription.aclose()
        assert subscription.stats() == (2, 0, 0, 0, 0)


async def test_a_failure_is_told_when_the_block_is_left():
    """A failure that no reader was told of is raised by leaving the block; one that was told is not told again."""
    async with LocalEventBus() as bus:

        async def leave(*, told):
            async with await bus.subscribe() as subscription:
                [intake] = bus._subscriptions
                intake.fail(PermissionError("denied"))
                if told:
                    with pytest.raises(PermissionError):
                        await anext(subscription)

        with pytest.raises(PermissionError):
            await leave(told=False)
        await leave(told=True)


async def test_a_handlers_subscription_that_fails_tells_its_policy():
    """A failure of the subscription goes to `on_error`, behind the events before it."""
    async with LocalEventBus() as bus:
        seen = []
        subscription = await bus.subscribe(
            handler=lambda event: seen.append(event.version), on_error=lambda error, event: seen.append((str(error), event))
        )
        [intake] = bus._subscriptions
        await bus.publish_many(events("a", [1, 2]))
        intake.fail(PermissionError("denied"))
        with pytest.raises(PermissionError):
            await soon(subscription.wait_closed())
        assert seen == [1, 2, ("denied", None)]


async def test_an_interruption_holds_what_is_behind_it():
    """Between `interrupt` and `resume` a reader waits; then it is told of the gap once, and reads on."""
    async with LocalEventBus() as bus:
        subscription = await bus.subscribe()
        [intake] = bus._subscriptions
        await bus.publish(*events("a", [1]))
        token = intake.interrupt("the cable was pulled")
        await bus.publish(*events("a", [2]))
        assert not subscription.is_live
        assert "interrupted" in repr(subscription)
        assert versions(await read(subscription, 1)) == [1]
        reader = asyncio.ensure_future(anext(subscription))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not reader.done()
        intake.resume(token)
        with pytest.raises(AetherError, match="the cable was pulled"):
            await soon(reader)
        assert subscription.is_live
        assert versions(await read(subscription, 1)) == [2]
