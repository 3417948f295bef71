"""How blocking calls run coroutines: directly, or on one event loop in a background thread.

A loop for each call could not keep a connection open between calls, and a loop for each object would cost a thread each. So
all objects that need a network share one thread with one loop (the portal of anyio's and asgiref's design); it starts with
the first call and ends with the interpreter. The in-memory store needs no loop: its coroutines never suspend.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import types
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from aether.errors import AetherError, LoopInUseError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine, Generator

__all__ = ["Direct", "Portal", "Runner", "handler_threads"]

T = TypeVar("T")

HANDLERS_MAX = 4_096
"""How many handlers of the caller's run at once in all; each subscription has a bound of its own."""

STOP_S = 5.0
"""What the interpreter waits at exit for the loop's thread; it is a daemon, so nothing hangs for longer."""

_END = object()


class Runner(Protocol):
    """What runs the coroutines of one object for callers that block."""

    NOTE: str
    """How calls run, a paragraph for the docstrings of the classes that use it."""

    def __init__(self, name: str) -> None:
        """Take the name of the class whose calls these are, for errors: "JetStreamEventStore"."""

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns; its exceptions come through unchanged."""
        ...

    def iterate(self, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield what the async generator yields; closing this one early closes that one."""
        ...


class Direct:
    """Runs coroutines that never suspend, in the calling thread and without a loop."""

    __slots__ = ()

    NOTE = "Calls run in the calling thread; any thread may make them, also one that runs an event loop."

    def __init__(self, name: str) -> None:
        """Take a name as every runner does; nothing can go wrong here that needs it."""

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns."""
        result: list[T] = []
        # `call.send(None)` would end by raising StopIteration with the result, which costs 0.3 µs more.
        for _ in _into(result, call):
            raise RuntimeError(f"{call!r} waited for something; only what never waits runs without an event loop")
        return result[0]

    def iterate(self, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield what the async generator yields; closing this one early closes that one."""
        while True:
            try:
                item = self.run(source.__anext__())
            except StopAsyncIteration:
                return
            try:
                yield item
            except BaseException:
                self.run(source.aclose())
                raise


@types.coroutine
def _into(result: list[T], call: Coroutine[Any, Any, T]) -> Generator[Any, Any, None]:
    result.append((yield from call))


class Portal:
    """Runs coroutines on the loop that all portals of this process share, and blocks until they are done.

    Args:
        name: the class whose calls these are, for errors: "JetStreamEventStore".
    """

    __slots__ = ("_name", "_thread")

    NOTE = (
        "Calls run on one event loop in a background thread, which all such objects share, and block until they are done; any\n"
        "number of threads may make them. Inside a running event loop they raise `LoopInUseError`, and in a forked child\n"
        "`AetherError`: make a new one there. Ctrl-C cancels the call that waits. A nats-py client, which belongs to an event\n"
        "loop of its own, is refused."
    )

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = _loop_thread()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns; its exceptions come through unchanged.

        Ctrl-C while waiting cancels the coroutine and waits for its end; a second one does not wait any more.

        Raises:
            LoopInUseError: this thread runs an event loop, which would stand still.
            AetherError: this process was forked from the one that made the object.
        """
        try:
            self._refuse_misuse(call)
        except BaseException:
            call.close()
            raise
        return self._thread.run(call)

    def iterate(self, source: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield what the async generator yields.

        Left early, it is closed soon after: the loop does that with every async generator that is dropped, and this one is
        dropped with the generator that holds it. To wait for it here could wait for ever, as the garbage collector drops
        things anywhere, also inside that very loop.
        """
        while True:
            self._refuse_misuse(source)
            item = self._thread.run(_next(source))
            if item is _END:
                return
            yield cast("T", item)

    def _refuse_misuse(self, call: object) -> None:
        method = getattr(call, "__name__", "_")
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - documented; get_running_loop would raise and catch
            raise LoopInUseError(self._name if method.startswith("_") else f"{self._name}.{method}")
        if self._thread.pid != os.getpid():
            raise AetherError(
                f"this {self._name} was made in process {self._thread.pid}, and a fork does not take its connection along; "
                f"make a new one in process {os.getpid()}"
            )


async def _next(source: AsyncGenerator[T, None]) -> T | object:
    return await anext(source, _END)


class _Call:
    """A coroutine on its way: the task that runs it, once the loop has begun it, and what it comes to."""

    __slots__ = ("_coroutine", "outcome", "task")

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.outcome: Future[Any] = Future()
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        # The loop itself holds tasks only weakly; this call holds its own, and whoever waits holds the call.
        if not self.outcome.done():
            self.task = asyncio.get_running_loop().create_task(self._settle())
            self.task.add_done_callback(self._unbegun)

    def cancel(self) -> None:
        if self.task is not None:
            self.task.cancel()
        else:
            # `begin` runs before this, unless Ctrl-C came before it was even queued.
            self._coroutine.close()
            self.outcome.set_exception(asyncio.CancelledError())

    def _unbegun(self, _: asyncio.Task[None]) -> None:
        """Take it that the task was cancelled before its first step, and so before it could settle anything."""
        if not self.outcome.done():
            self._coroutine.close()
            self.outcome.set_exception(asyncio.CancelledError())

    async def _settle(self) -> None:
        """Put the result or the error into `outcome`: here, so that not even SystemExit tears the shared loop down."""
        try:
            result = await self._coroutine
        except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(result)


class _LoopThread:
    """The background thread and its loop; one for each process that needs one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ended = False
        self.handlers = ThreadPoolExecutor(HANDLERS_MAX, thread_name_prefix="aether-handler")  # it starts them as they are needed
        # With the first portal, not with the first call: exit handlers run in reverse, and those that close stores come later.
        atexit.register(self._end)

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        call = _Call(coroutine)
        try:
            loop = self._running_loop()
        except BaseException:
            coroutine.close()
            raise
        try:
            loop.call_soon_threadsafe(call.begin)
            return cast("T", call.outcome.result())
        except BaseException:
            if not call.outcome.done():
                loop.call_soon_threadsafe(call.cancel)
                call.outcome.exception()
            raise
        finally:
            # An exception's traceback holds this frame, and the frame would hold the exception.
            del call

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._begin()
        if self._loop is None or self._ended:
            raise AetherError("the interpreter is shutting down: aether.sync takes no calls any more")
        return self._loop

    def _begin(self) -> None:
        with self._lock:
            if self._loop is not None or self._ended:
                return  # another thread came first
            ready: Future[asyncio.AbstractEventLoop] = Future()
            self._thread = threading.Thread(target=self._main, args=(ready,), name="aether-sync", daemon=True)
            self._thread.start()
            self._loop = ready.result()

    def _main(self, ready: Future[asyncio.AbstractEventLoop]) -> None:
        async def serve() -> None:
            self._stop = asyncio.Event()
            ready.set_result(asyncio.get_running_loop())
            await self._stop.wait()

        # The runner's end cancels what is left and closes async generators and the loop.
        with asyncio.Runner() as runner:
            runner.run(serve())

    def _end(self) -> None:
        if self.pid != os.getpid():
            return
        self._ended = True
        if self._loop is not None and self._stop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(STOP_S)
            self.handlers.shutdown(wait=False, cancel_futures=True)


_THREADS: dict[int, _LoopThread] = {}


def _loop_thread() -> _LoopThread:
    """The loop thread of this process; keyed by process, so that a forked child never meets its parent's locks."""
    pid = os.getpid()
    thread = _THREADS.get(pid)
    return _THREADS.setdefault(pid, _LoopThread()) if thread is None else thread


def handler_threads() -> ThreadPoolExecutor:
    """Return the threads in which functions of the caller's are called."""
    return _loop_thread().handlers
