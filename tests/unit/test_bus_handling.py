"""Handlers that do not end: what a closing waits for, what it cancels, what it says, and what waits in between."""

from __future__ import annotations

import asyncio
import gc
import logging
import time

import pytest

from aether import AetherError, Event, LocalEventBus, NotDrainedError
from aether.bus.arguments import SubscribeOptions
from aether.bus.handling import STAGED_MAX, Handling, is_async
from aether.bus.intake import Intake
from aether.testing.bus_contract_base import events, soon, until


@pytest.fixture
async def bus():
    """A bus that gives handlers little time to finish."""
    async with LocalEventBus(timeout_s=0.05) as bus:
        yield bus


async def test_a_handler_that_does_not_finish_is_cancelled_and_that_is_said(bus, caplog):
    """At the end of the bus's time a running handler is cancelled, logged, and counted as failed; the rest stays pending."""
    began = asyncio.Event()
    ended = []

    async def handler(event):
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(event.version)

    subscription = await bus.subscribe(actor_id="a", handler=handler)
    await bus.publish_many(events("a", [1, 2, 3]))
    await began.wait()
    with caplog.at_level(logging.WARNING, "aether.bus"):
        await subscription.aclose()
    assert ended == [1]
    assert subscription.stats() == (1, 2, 0, 0, 1)
    assert "1 of its tasks had not finished within 0.05 s" in caplog.text
    assert "actor_id='a'" in caplog.text


async def test_a_handler_that_refuses_to_be_cancelled_is_waited_for(bus):
    """A handler that goes on after it was cancelled is let finish: nothing of it runs once `aclose` returned."""
    began = asyncio.Event()
    done = []

    async def handler(_):
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
            done.append("tidied")

    subscription = await bus.subscribe(handler=handler)
    await bus.publish(*events("a", [1]))
    await began.wait()
    await subscription.aclose()
    assert done == ["tidied"]


async def test_closing_the_bus_cancels_handlers_of_many_subscriptions_at_once():
    """The time to finish passes once for all subscriptions of a bus that is closed, not once for each."""
    bus = LocalEventBus(timeout_s=0.5)
    running = 0

    async def handler(_):
        nonlocal running
        running += 1
        await asyncio.Event().wait()

    for _ in range(200):
        await bus.subscribe(handler=handler)
    await bus.publish(*events("a", [1]))
    await until(lambda: running == 200)
    await asyncio.wait_for(bus.aclose(), 50)  # one after the other they would take twice as long


async def test_who_is_cancelled_while_closing_leaves_the_closing_to_its_end():
    """A caller of `aclose` that is cancelled does not cancel the closing."""
    async with LocalEventBus() as bus:
        go_on, began = asyncio.Event(), asyncio.Event()
        done = []

        async def handler(_):
            began.set()
            await go_on.wait()
            done.append("finished")

        subscription = await bus.subscribe(handler=handler)
        await bus.publish(*events("a", [1]))
        await began.wait()
        closing = asyncio.create_task(subscription.aclose())
        await asyncio.sleep(0)
        closing.cancel()
        await asyncio.wait([closing])
        assert done == []
        go_on.set()
        await subscription.wait_closed()
        assert done == ["finished"]


async def test_what_a_handler_raises_while_it_is_closed_is_raised_by_the_closing():
    """Under "stop" an error of a handler that runs while its subscription is closed is not lost: leaving the block raises it."""
    began = asyncio.Event()

    async def handler(_):
        began.set()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        raise LookupError("at the last moment")

    async with LocalEventBus() as bus:

        async def body():
            async with await bus.subscribe(handler=handler, on_error="stop"):
                await bus.publish(*events("a", [1]))
                await began.wait()

        with pytest.raises(LookupError, match="at the last moment"):
            await body()


async def test_who_is_cancelled_while_closing_the_bus_leaves_that_to_its_end():
    """A caller of the bus's `aclose` that is cancelled does not cancel the closing, and another one can wait for it."""
    bus = LocalEventBus()
    go_on, began = asyncio.Event(), asyncio.Event()
    done = []

    async def handler(_):
        began.set()
        await go_on.wait()
        done.append("finished")

    await bus.subscribe(handler=handler)
    await bus.publish(*events("a", [1]))
    await began.wait()
    closing = asyncio.create_task(bus.aclose())
    await asyncio.sleep(0)
    closing.cancel()
    await asyncio.wait([closing])
    go_on.set()
    await bus.aclose()
    assert done == ["finished"]


@pytest.mark.parametrize("flavour", ["sync", "async"])
async def test_handlers_that_never_wait_leave_others_their_turns(flavour):
    """Between calls of a handler that takes its time and waits for nothing, the loop has its turns."""
    handled = turns = 0

    def handler(_):
        nonlocal handled
        time.sleep(0.001)
        handled += 1

    async def async_handler(event):
        handler(event)

    async with LocalEventBus() as bus:
        await bus.subscribe(handler=handler if flavour == "sync" else async_handler)
        await bus.publish_many(events("a", range(1, 101)))
        while handled < 100:
            turns += 1
            await asyncio.sleep(0)
    assert turns >= 10


async def test_typed_async_handlers_overlap():
    """An async handler registered by `on` runs for several actors at once, as any other."""
    bus = LocalEventBus()
    barrier = asyncio.Barrier(2)
    done = []

    @bus.on(type(None), event_type="Happened")
    async def handler(_, event):
        await soon(barrier.wait())
        done.append(event.actor_id)

    async with bus:
        await bus.publish_many([Event(name, "Happened", 1) for name in "ab"])
        await until(lambda: sorted(done) == ["a", "b"])


async def test_what_is_staged_is_bounded():
    """An async handler that does not get on leaves all but a bounded number of events in the mailbox, under its own bounds."""
    go_on = asyncio.Event()

    async def handler(_):
        await go_on.wait()

    async with LocalEventBus() as bus:
        subscription = await bus.subscribe(handler=handler, max_pending=100, policy="drop_oldest")
        for start in range(1, 4001, 100):
            await bus.publish_many(events("a", range(start, start + 100)))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        stats = subscription.stats()
        assert stats.delivered == 1
        assert stats.pending <= STAGED_MAX + 100
        assert sum(stats[:3]) == 4000
        go_on.set()


async def test_a_bug_of_handlings_own_ends_the_subscription(monkeypatch):
    """What goes wrong in the machinery itself is no silence: it ends the subscription, and `wait_closed` raises it."""

    async def broken(self, *_):
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(Handling, "_handle", broken)
    async with LocalEventBus() as bus:
        for handler in (print, asyncio.sleep):
            subscription = await bus.subscribe(handler=handler)
            await bus.publish(*events("a", [1]))
            with pytest.raises(ZeroDivisionError):
                await subscription.wait_closed()
            assert not subscription.is_live


async def test_an_answer_that_cannot_be_sent_is_logged(caplog):
    """Where the answer's way is lost, that is logged, and the handler goes on."""

    async def reply(_, __):
        raise AetherError("no way back")

    intake = Intake(SubscribeOptions(handler=lambda event: event.version))
    handling = Handling(intake, reply)
    with caplog.at_level(logging.WARNING, "aether.bus"):
        await handling._handle(Event("a", "X", 1), "somewhere")
        await handling._failed(LookupError("no"), Event("a", "X", 2), "somewhere")
    assert caplog.text.count("an answer could not be sent: no way back") == 2


async def test_a_failing_end_is_told_to_who_closes():
    """Where a bus cannot take a subscription off, `aclose` raises why, and the subscription is closed all the same."""

    class Stuck(LocalEventBus):
        async def _detach(self, intake):
            await super()._detach(intake)
            raise AetherError("stuck")

    bus = Stuck()
    subscription = await bus.subscribe()
    with pytest.raises(AetherError, match="stuck"):
        await subscription.aclose()
    await subscription.wait_closed()
    assert not subscription.is_live
    await bus.aclose()


async def test_nothing_is_left_behind():
    """A bus that was closed has left no task, and nothing that was never awaited."""
    async with LocalEventBus() as bus:

        async def handler(event):
            await asyncio.sleep(0)
            return event.version

        readers = []
        for _ in range(3):
            await bus.subscribe(handler=handler)
            readers.append(await bus.subscribe())
        await bus.publish_many(events("a", range(1, 50)))
        assert await bus.request(*events("a", [50])) == 50
    del readers
    await asyncio.sleep(0)
    gc.collect()
    assert {task.get_name() for task in asyncio.all_tasks()} == {asyncio.current_task().get_name()}


@pytest.mark.parametrize("async_", [True, False])
def test_what_is_async_is_told_apart(async_):
    """Coroutine functions, and objects and methods that are called like one, are async; all else is not."""

    async def function(event): ...

    def plain(event): ...

    class AsyncCall:
        async def __call__(self, event): ...

        async def method(self, event): ...

    class Call:
        def __call__(self, event): ...

        def method(self, event): ...

    given = [function, AsyncCall(), AsyncCall().method] if async_ else [plain, Call(), Call().method, print, list.append, dict]
    assert [is_async(one) for one in given] == [async_] * len(given)


async def test_a_handler_that_never_ends_is_left_to_itself(bus, caplog, monkeypatch):
    """A handler that swallows its cancellation keeps neither `aclose` nor the bus waiting, and that is logged."""
    monkeypatch.setattr("aether.bus.handling.CANCEL_S", 0.05)
    began, go_on = asyncio.Event(), asyncio.Event()

    async def handler(_):
        began.set()
        while not go_on.is_set():
            try:
                await go_on.wait()
            except asyncio.CancelledError:
                continue

    subscription = await bus.subscribe(handler=handler)
    await bus.publish(*events("a", [1]))
    await began.wait()
    await soon(subscription.aclose())
    await soon(bus.aclose())
    assert "1 of its handlers go on though they were cancelled" in caplog.text
    go_on.set()
    await until(lambda: {asyncio.current_task()} == asyncio.all_tasks())


async def test_what_a_drained_handler_leaves_is_said():
    """Where handlers do not finish in the bus's time `drain` says how many events were left, and it has ended."""
    bus = LocalEventBus(timeout_s=0.05)
    began = asyncio.Event()

    async def handler(_):
        began.set()
        await asyncio.Event().wait()

    subscription = await bus.subscribe(actor_id="a", handler=handler)
    reader = await bus.subscribe(actor_id="b")
    await bus.publish_many([*events("a", range(1, 11)), *events("b", [1, 2])])
    await began.wait()
    with pytest.raises(NotDrainedError, match=r"10 events were left when 0\.05 s had passed") as caught:
        await subscription.drain()
    assert (caught.value.left, caught.value.timeout_s) == (10, 0.05)
    await subscription.wait_closed()
    with pytest.raises(NotDrainedError, match="actor_id='b' was drained, and 2 events were left"):
        await bus.drain()
    assert not reader.is_live
