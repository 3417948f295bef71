"""The blocking face: derived completely, and direct for the in-memory store."""

from __future__ import annotations

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from nats.aio.client import Client

import aether
from aether import sync
from aether.sync._derive import NAMES, blocking, members
from aether.sync._runner import Direct, Portal

FACES = [name for name in aether.__all__ if getattr(sync, name) is not getattr(aether, name)]
CLASSES = ["EmbeddedServer", "InMemoryEventStore", "JetStreamEventStore"]
THREADS = 8


def test_faces_are_what_waits():
    """Stores, servers and their protocols have a blocking face; every other name is the very same object."""
    stores = ["ArrowStream", "EventStore", "InMemoryEventStore", "IngestPipeline", "JetStreamEventStore", "SnapshotStore"]
    buses = ["EventBus", "LocalEventBus", "NATSEventBus", "PublishingEventStore", "Subscription"]
    clusters = ["ActorHost", "ClusterNode", "LeaderElection", "Leadership", "LossSignal"]
    assert sorted(FACES) == sorted(["EmbeddedServer", *stores, *buses, *clusters])
    assert sync.__all__ == aether.__all__


@pytest.mark.parametrize("name", FACES)
def test_a_face_is_complete(name):
    """Every public member has its blocking counterpart with the same parameters and docstring, and none is a coroutine."""
    source, face = getattr(aether, name), getattr(sync, name)
    wanted = {NAMES.get(member, member) for member in members(source)}
    assert {member for member in dir(face) if not member.startswith("_")} == {w for w in wanted if not w.startswith("_")}
    for name_there, there in members(source).items():
        here = inspect.getattr_static(face, NAMES.get(name_there, name_there))
        assert inspect.getdoc(here) == inspect.getdoc(there)
        assert not inspect.iscoroutinefunction(here)
        assert not inspect.isasyncgenfunction(here)
        if inspect.isfunction(there):
            assert inspect.signature(here).parameters == inspect.signature(there).parameters
            assert (here.__defaults__, here.__kwdefaults__) == (there.__defaults__, there.__kwdefaults__)
            assert here.__qualname__ == f"{face.__name__}.{NAMES.get(name_there, name_there)}"


@pytest.mark.parametrize("name", CLASSES)
def test_constructors_are_the_same(name):
    """A blocking class takes what its async one takes, and its docstring says how its calls run."""
    source, face = getattr(aether, name), getattr(sync, name)
    assert inspect.signature(face).parameters == inspect.signature(source).parameters
    assert face.__module__ == "aether.sync"
    assert "Calls run" in face.__doc__
    assert "async" not in face.__doc__.replace("asyncio", "")


def test_nothing_async_is_left():
    """No annotation of the blocking face names an async iterator or an awaitable."""
    for name in FACES:
        for member in vars(getattr(sync, name)).values():
            if inspect.isfunction(member):
                assert not [a for a in member.__annotations__.values() if "Async" in str(a) or "Await" in str(a)]


def test_the_memory_store_needs_no_loop():
    """The blocking in-memory store works where no event loop runs, in a with block that returns it."""
    with sync.InMemoryEventStore(max_events=3) as store:
        assert isinstance(store, sync.InMemoryEventStore)
        assert store.append("a", sync.NewEvent("T")) == (1, 1)
        assert store.save_event(sync.Event("a", "T", 2)) == 2
        assert [event.version for event in store.get_events("a")] == [1, 2]
        assert [len(batch) for batch in store.read_events("a", batch_size=1)] == [1, 1]
        assert store.info().store == "memory"
        assert repr(store) == "<InMemoryEventStore: 2 events of 1 actors>"
        with pytest.raises(sync.StoreFullError):
            store.append("a", [sync.NewEvent("T")] * 2)
    store.close()


async def test_the_memory_store_works_inside_a_loop():
    """The blocking in-memory store works inside a running event loop, reading in batches included."""
    await asyncio.sleep(0)
    store = sync.InMemoryEventStore()
    store.append("a", [sync.NewEvent("T")] * 3)
    assert [len(batch) for batch in store.read_events("a", batch_size=2)] == [2, 1]


def test_the_memory_store_works_from_many_threads():
    """Threads that append to one actor lose nothing and get contiguous versions."""
    store = sync.InMemoryEventStore()
    together = threading.Barrier(THREADS)

    def write(_):
        together.wait()
        return [store.append("a", sync.NewEvent("T")).version for _ in range(200)]

    with ThreadPoolExecutor(THREADS) as threads:
        versions = [version for own in threads.map(write, range(THREADS)) for version in own]
    assert sorted(versions) == list(range(1, THREADS * 200 + 1))
    assert store.get_latest_version("a") == THREADS * 200


def test_errors_are_the_same():
    """Errors come through unchanged, so that either name catches them."""
    store = sync.InMemoryEventStore()
    with pytest.raises(aether.VersionConflictError) as caught:
        store.append("a", sync.NewEvent("T"), expected_version=3)
    assert (caught.value.expected, caught.value.actual) == (3, 0)


def test_wrong_arguments_are_named():
    """A call with the wrong arguments is a TypeError that names class, method and argument, as in the async face."""
    store = sync.InMemoryEventStore()
    with pytest.raises(TypeError, match=r"InMemoryEventStore\.append\(\) missing 1 required positional argument: 'events'"):
        store.append("a")
    with pytest.raises(TypeError, match=r"InMemoryEventStore\.get_events\(\) takes from 2 to 3 positional arguments"):
        store.get_events("a", 1, 10)
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'size'"):
        sync.InMemoryEventStore(size=3)


def test_protocols_recognise_stores():
    """A blocking store is an instance of the blocking protocols; something else is not."""
    store = sync.InMemoryEventStore()
    assert isinstance(store, sync.EventStore)
    assert isinstance(store, sync.SnapshotStore)
    assert not isinstance(object(), sync.EventStore)


def test_a_client_of_another_loop_is_refused():
    """A nats-py client, positional or by keyword, is a TypeError that asks for a URL."""
    for call in (lambda: sync.JetStreamEventStore(Client()), lambda: sync.JetStreamEventStore(url_or_client=Client())):
        with pytest.raises(TypeError, match="takes a URL"):
            call()


class Waits:
    """An async class with one member of each kind, for the runner that must not wait."""

    def __init__(self):
        self.closed = 0

    async def wait(self):
        """Wait for something."""
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            self.closed += 1

    async def pause(self):
        """Give way once."""
        try:
            await asyncio.sleep(0)
        finally:
            self.closed += 1

    async def count(self, to):
        """Count."""
        try:
            for number in range(to):
                yield number
                if number == 3:
                    raise KeyError(number)
        finally:
            self.closed += 1

    async def count_slowly(self):
        """Count, with a pause."""
        yield 1
        await asyncio.sleep(0)
        yield 2

    @property
    def open(self):
        """Whether nothing was closed."""
        return not self.closed


def test_direct_refuses_what_waits():
    """A coroutine that waits for something is closed and refused: without a loop nothing would ever wake it."""
    face = blocking(Waits, Direct)()
    with pytest.raises(RuntimeError, match="waited for something"):
        face.pause()
    assert not face.open
    with pytest.raises(RuntimeError, match="waited for something"):
        list(face.count_slowly())


def test_direct_iteration_closes_its_source():
    """An iteration ends its source when it is exhausted, left early, or fails."""
    face = blocking(Waits, Direct)()
    assert list(face.count(2)) == [0, 1]
    assert face._async.closed == 1
    numbers = face.count(9)
    assert next(numbers) == 0
    numbers.close()
    assert face._async.closed == 2
    with pytest.raises(KeyError):
        list(face.count(9))
    assert face._async.closed == 3


def test_a_member_without_a_rule_is_refused():
    """A class with a member that has no blocking counterpart is refused at import, not at the first call."""
    with pytest.raises(TypeError, match="limit"):
        blocking(type("Odd", (Waits,), {"limit": 3}), Direct)


class Numbers:
    """A part: an async iterator that has some numbers at hand."""

    def __init__(self, there, to):
        self._there, self._next, self._to = there, 0, to
        self.threads = set()

    def __aiter__(self):
        return self

    async def __anext__(self):
        """Wait for the next number."""
        await asyncio.sleep(0)
        self.threads.add(threading.get_ident())
        if self._next == self._to:
            raise StopAsyncIteration
        return self._following()

    def _next_now(self):
        return self._following() if self._next < self._there else None

    def _following(self):
        self._next += 1
        return self._next


class Makes:
    """An async class whose coroutine method makes a part, and that calls functions of the caller's."""

    def __init__(self, other=None):
        self.other = other
        self.registered = []

    async def numbers(self, *, there=0, to=3):
        """Make an iterator."""
        await asyncio.sleep(0)
        return Numbers(there, to)

    async def call(self, value, *, handler=None, on_error="log"):
        """Call the handler in its own time."""
        return await handler(value) if handler else on_error

    def on(self, kind, /):
        """Decorate a handler."""
        return lambda handler: self.registered.append((kind, handler))

    async def tell(self, value):
        """Call what is registered."""
        return [await handler(kind(value)) for kind, handler in self.registered]


PARTS = {"numbers": Numbers}


def test_a_coroutine_method_makes_a_part_that_is_iterated():
    """What a coroutine method makes is iterated with for: what is at hand in this thread, the rest on the loop."""
    numbers = blocking(Makes, Portal, PARTS)().numbers(there=2, to=4)
    assert list(numbers) == [1, 2, 3, 4]
    assert list(numbers) == []
    assert threading.get_ident() not in numbers._async.threads
    assert len(numbers._async.threads) == 1


def test_functions_of_the_caller_run_in_threads_where_they_may_block():
    """A handler runs in a thread without a loop, so it can use the blocking face itself; None and words are passed on."""
    face = blocking(Makes, Portal, PARTS)()

    def handler(value):
        return value, threading.current_thread(), list(face.numbers())

    value, thread, numbers = face.call(7, handler=handler)
    assert (value, numbers) == (7, [1, 2, 3])
    assert thread not in (threading.current_thread(), None)
    assert face.call(7) == "log"
    assert face.call(7, on_error="stop") == "stop"


def test_a_decorated_function_stays_what_it_is():
    """`on` gives the function back, registers it, and calls it in a thread."""
    face = blocking(Makes, Portal, PARTS)()

    @face.on(str)
    def handler(value):
        return value, list(face.numbers(to=1))

    assert handler("1") == ("1", [1])
    assert face.tell(5) == [("5", [1])]


def test_a_coroutine_function_is_refused():
    """A coroutine function as a handler is a TypeError at once: nothing here would await it."""
    face = blocking(Makes, Portal, PARTS)()

    async def handler(value):
        raise AssertionError(value)

    with pytest.raises(TypeError, match=r"plain functions.*handler.*coroutine function"):
        face.call(1, handler=handler)
    with pytest.raises(TypeError, match="coroutine function"):
        face.on(str)(handler)


def test_a_constructor_takes_other_faces():
    """A blocking object made of another one holds the async one underneath."""
    face = blocking(Makes, Portal, PARTS)
    inner = face()
    assert face(inner)._async.other is inner._async
    assert face(other=5)._async.other == 5


def test_as_many_handlers_block_as_the_subscription_allows():
    """Blocking handlers of 16 actors run at once, whatever the machine: none waits for another's thread."""
    together = threading.Barrier(16)
    passed = threading.Semaphore(0)

    def handler(_):
        together.wait(20)
        passed.release()

    with sync.LocalEventBus() as bus, bus.subscribe(handler=handler):
        bus.publish_many(aether.Event(f"actor-{index}", "T", 1) for index in range(16))
        assert all(passed.acquire(timeout=60) for _ in range(16))
