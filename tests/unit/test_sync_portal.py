"""The portal: one background loop for all blocking objects that need one."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from aether import AetherError, LoopInUseError, sync
from aether.sync._runner import Portal, _loop_thread

THREADS = 8
WAIT_S = 60.0


@pytest.fixture
def portal():
    """A portal as a blocking object has it."""
    return Portal("JetStreamEventStore")


async def ident():
    """Return the thread this runs in."""
    return threading.get_ident()


async def fail(error):
    """Raise an error."""
    raise error


def press_ctrl_c():
    """Send the main thread what a terminal sends."""
    signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


def test_all_portals_share_one_thread(portal):
    """Every object's calls run in one and the same background thread, whoever makes them."""
    with ThreadPoolExecutor(THREADS) as threads:
        seen = set(threads.map(lambda _: Portal("Other").run(ident()), range(THREADS)))
    assert seen == {portal.run(ident())}
    assert threading.get_ident() not in seen


def test_calls_of_many_threads_overlap(portal):
    """Calls of several threads wait at the same time, not one behind the other."""
    arrived = 0
    all_here = asyncio.Event()

    async def meet():
        nonlocal arrived
        arrived += 1
        if arrived == THREADS:
            all_here.set()
        await asyncio.wait_for(all_here.wait(), WAIT_S)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(lambda _: portal.run(meet()), range(THREADS)))
    assert arrived == THREADS


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()])
def test_errors_come_through_and_the_loop_goes_on(portal, error):
    """Whatever a coroutine raises is raised in the calling thread, the very object, and the loop serves the next call."""
    with pytest.raises(type(error)) as caught:
        portal.run(fail(error))
    assert caught.value is error
    assert portal.run(asyncio.sleep(0, "still here")) == "still here"


def test_context_variables_are_seen(portal):
    """A coroutine sees the context variables of whoever called."""
    variable = contextvars.ContextVar("variable", default="outer")
    variable.set("caller's")

    async def read():
        return variable.get()

    assert portal.run(read()) == "caller's"


async def test_a_running_loop_is_not_blocked(portal):
    """A call inside a running event loop is refused before anything runs, by name and with both ways out."""

    async def save_event():
        raise AssertionError("this must not run")

    with pytest.raises(LoopInUseError) as caught:
        portal.run(save_event())
    assert caught.value.call == "JetStreamEventStore.save_event"
    assert "aether.JetStreamEventStore.save_event with await" in str(caught.value)
    assert "asyncio.to_thread" in str(caught.value)
    assert await asyncio.to_thread(portal.run, asyncio.sleep(0, "from a thread")) == "from a thread"


async def test_blocking_objects_refuse_a_running_loop(tmp_path):
    """Stores and servers that need the background loop refuse use inside another, in with blocks and iterations too."""
    store = sync.JetStreamEventStore("nats://127.0.0.1:1")
    for call, name in (
        (lambda: store.get_events("a"), "JetStreamEventStore.get_events"),
        (lambda: next(store.read_events("a")), "JetStreamEventStore.read_events"),
        (store.__enter__, "JetStreamEventStore"),
        (sync.EmbeddedServer(tmp_path).start, "EmbeddedServer.start"),
    ):
        with pytest.raises(LoopInUseError) as caught:
            call()
        assert caught.value.call == name


def test_a_loop_that_ended_is_no_running_loop(portal):
    """Between two event loops of its own a thread may block."""
    assert asyncio.run(asyncio.sleep(0, 1)) == 1
    assert portal.run(asyncio.sleep(0, 2)) == 2


def test_ctrl_c_cancels_the_call(portal):
    """Ctrl-C while a call waits cancels it, waits until it has cleaned up, and is raised in the caller."""
    course = []

    async def wait():
        course.append("begun")
        press_ctrl_c()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            course.append("cleaned up")

    with pytest.raises(KeyboardInterrupt):
        portal.run(wait())
    assert course == ["begun", "cleaned up"]
    assert portal.run(asyncio.sleep(0, "still here")) == "still here"


def test_ctrl_c_before_the_first_step_ends_the_call(portal, monkeypatch):
    """Ctrl-C while the loop is busy, so that a call is cancelled before its first step, ends it all the same."""
    loop = _loop_thread()._running_loop()
    busy, let_go = threading.Event(), threading.Event()
    loop.call_soon_threadsafe(lambda: (busy.set(), let_go.wait(WAIT_S)))
    assert busy.wait(WAIT_S)
    hand_over = loop.call_soon_threadsafe
    handed_over = []

    def press_and_let_go(callback):
        hand_over(callback)
        handed_over.append(callback.__name__)
        if len(handed_over) == 1:
            press_ctrl_c()  # the call is on its way, behind what keeps the loop busy
        else:
            let_go.set()  # now the loop is to begin the call, and then to cancel it

    async def never_begun():
        raise AssertionError("it was cancelled before")

    with monkeypatch.context() as patch:
        patch.setattr(loop, "call_soon_threadsafe", press_and_let_go)
        with pytest.raises(KeyboardInterrupt):
            portal.run(never_begun())
    assert handed_over == ["begin", "cancel"]
    assert portal.run(asyncio.sleep(0, "still here")) == "still here"


def test_a_second_ctrl_c_does_not_wait(portal):
    """Ctrl-C a second time leaves a call alone that does not end."""
    let_go = asyncio.Event()
    ended = threading.Event()

    async def wait():
        press_ctrl_c()
        try:
            await asyncio.Event().wait()
        finally:
            press_ctrl_c()
            await let_go.wait()
            ended.set()

    async def release():
        let_go.set()

    with pytest.raises(KeyboardInterrupt):
        portal.run(wait())
    assert not ended.is_set()
    portal.run(release())
    assert ended.wait(WAIT_S)


class Source:
    """An async generator that says when it was closed."""

    def __init__(self):
        self.closed = threading.Event()

    async def numbers(self, *, fail_at=None):
        """Count from 0."""
        try:
            for number in range(5):
                if number == fail_at:
                    raise KeyError(number)
                yield number
                await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            self.closed.set()


def test_iteration_runs_on_the_loop(portal):
    """An async generator is iterated to its end, and closed with it."""
    source = Source()
    assert list(portal.iterate(source.numbers())) == [0, 1, 2, 3, 4]
    assert source.closed.is_set()


def test_errors_end_an_iteration(portal):
    """An error of the generator is raised where the iteration is."""
    source = Source()
    numbers = portal.iterate(source.numbers(fail_at=2))
    assert [next(numbers), next(numbers)] == [0, 1]
    with pytest.raises(KeyError):
        next(numbers)
    assert source.closed.is_set()


@pytest.mark.parametrize("leave", ["close", "drop"])
def test_an_iteration_left_early_is_closed(portal, leave):
    """Closing or dropping an iteration closes its generator."""
    source = Source()
    numbers = portal.iterate(source.numbers())
    next(numbers)
    if leave == "close":
        numbers.close()
    del numbers
    gc.collect()
    assert source.closed.wait(WAIT_S)


async def test_an_iteration_dropped_inside_a_loop_blocks_nothing(portal):
    """An iteration begun in a thread and dropped inside a running loop is closed without that loop waiting."""
    source = Source()
    numbers = portal.iterate(source.numbers())
    await asyncio.to_thread(next, numbers)
    del numbers
    gc.collect()
    assert await asyncio.to_thread(source.closed.wait, WAIT_S)


def test_a_server_and_its_store_block(tmp_path):
    """A real server and a store on it live and end in with blocks, and the store is used from many threads."""
    with sync.EmbeddedServer(tmp_path / "data", sync=60) as server:
        with sync.JetStreamEventStore(server.url) as store, ThreadPoolExecutor(THREADS) as threads:
            versions = list(threads.map(lambda n: store.append("a", sync.NewEvent("T", n)).version, range(40)))
            assert sorted(versions) == list(range(1, 41))
            assert [len(batch) for batch in store.read_events("a", batch_size=30)] == [30, 10]
            assert "replicas=1" in repr(store.info())
        assert server.alive
        with pytest.raises(AetherError, match="closed"):
            store.get_events("a")
    assert not server.alive
    assert Path(tmp_path / "data").is_dir()
