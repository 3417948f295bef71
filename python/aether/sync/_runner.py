"""How blocking calls run coroutines: directly, or on one event loop in a background thread.

A loop for each call could not keep a connection open between calls, and a loop for each object would cost a thread each. So
all objects that need a network share one thread with one loop (the portal of anyio's and asgiref's design); it starts with
the first call and ends with the interpreter. The in-memory store needs no loop: its coroutines never suspend.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar, cast

from aether.errors import AetherError, LoopInUseError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Coroutine, Iterator

__all__ = ["Direct", "Portal"]

T = TypeVar("T")

STOP_S = 5.0
"""What the interpreter waits at exit for the loop's thread; it is a daemon, so nothing hangs for longer."""

_END = object()


class Direct:
    """Runs coroutines that never suspend, in the calling thread and without a loop."""

    __slots__ = ()

    def __init__(self, name: str = "") -> None:
        """Take a name as `Portal` does; nothing needs it."""

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns."""
        try:
            call.send(None)
        except StopIteration as done:
            return cast("T", done.value)
        call.close()
        raise RuntimeError(f"{call!r} waited for something; only what never waits runs without an event loop")

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """Yield what the async iterator yields, and close it at the end."""
        try:
            while True:
                step = source.__anext__()
                try:
                    step.__await__().send(None)  # type: ignore[attr-defined]  # typeshed: an iterator; in fact a generator's
                except StopIteration as done:
                    item: T = done.value
                except StopAsyncIteration:
                    return
                else:
                    raise RuntimeError(f"{source!r} waited for something; only what never waits runs without an event loop")
                yield item
        finally:
            with contextlib.suppress(StopIteration):
                _closing(source).send(None)


class Portal:
    """Runs coroutines on the loop that all portals of this process share, and blocks until they are done.

    Args:
        name: the class whose calls these are, for errors: "JetStreamEventStore".
    """

    __slots__ = ("_name", "_thread")

    def __init__(self, name: str) -> None:
        self._name = name
        self._thread = _loop_thread()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """Return what the coroutine returns; its exceptions come through unchanged.

        Ctrl-C while waiting cancels the coroutine and waits for its end; a second one does not wait any more.

        Raises:
            LoopInUseError: this thread runs an event loop, which would stand still.
            AetherError: this process was forked from the one that opened the object.
        """
        try:
            self._refuse_misuse(getattr(call, "__name__", ""))
        except BaseException:
            call.close()
            raise
        return self._thread.run(call)

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """Yield what the async iterator yields; closing this generator early closes it too."""
        try:
            while True:
                self._refuse_misuse(getattr(source, "__name__", ""))
                item = self._thread.run(_next(source))
                if item is _END:
                    return
                yield cast("T", item)
        finally:
            self._close(source)

    def _refuse_misuse(self, method: str) -> None:
        if asyncio._get_running_loop() is not None:  # noqa: SLF001 - documented; get_running_loop would raise and catch
            raise LoopInUseError(f"{self._name}.{method}" if method else self._name)
        if self._thread.pid != os.getpid():
            raise AetherError(
                f"this {self._name} was opened in process {self._thread.pid}, and a fork does not take its connection along; "
                f"open a new one in process {os.getpid()}"
            )

    def _close(self, source: AsyncIterator[Any]) -> None:
        if self._thread.pid != os.getpid():
            return
        if asyncio._get_running_loop() is None:  # noqa: SLF001
            self._thread.run(_closing(source))
        else:
            # A generator dropped inside a running loop, perhaps our own: to wait here would block that loop.
            self._thread.start(_closing(source))


async def _next(source: AsyncIterator[T]) -> T | object:
    return await anext(source, _END)


async def _closing(source: AsyncIterator[Any]) -> None:
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()


async def _settle(call: Awaitable[T], outcome: Future[T]) -> None:
    """Put what `call` comes to into `outcome`: here, so that not even SystemExit tears the shared loop down."""
    try:
        result = await call
    except BaseException as error:  # noqa: BLE001 - it is raised in the thread that waits
        outcome.set_exception(error)
    else:
        outcome.set_result(result)


class _LoopThread:
    """The background thread and its loop; one for each process that needs one."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._thread: threading.Thread | None = None
        self._ended = False
        self._tasks: set[asyncio.Task[None]] = set()
        # With the first portal, not with the first call: exit handlers run in reverse, and those that close stores come later.
        atexit.register(self._end)

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        outcome, started = self.start(call)
        try:
            return outcome.result()
        except BaseException:
            if not outcome.done():
                self._cancel(started)
                outcome.exception()
            raise
        finally:
            # An exception's traceback holds this frame, and the frame would hold the exception.
            del outcome, started

    def start(self, call: Coroutine[Any, Any, T]) -> tuple[Future[T], Future[asyncio.Task[None]]]:
        """Begin a coroutine on the loop; return what it will come to and the task that will run it."""
        outcome: Future[T] = Future()
        started: Future[asyncio.Task[None]] = Future()
        steps = _settle(call, outcome)

        def begin() -> None:
            task = asyncio.get_running_loop().create_task(steps)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            started.set_result(task)

        try:
            self._running_loop().call_soon_threadsafe(begin)
        except BaseException:
            steps.close()
            call.close()
            raise
        return outcome, started

    def _cancel(self, started: Future[asyncio.Task[None]]) -> None:
        # `begin` was queued before this, so the task is there when this runs.
        self._running_loop().call_soon_threadsafe(lambda: started.result().cancel())

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            with self._lock:
                if self._loop is None:
                    self._begin()
        loop = self._loop
        if loop is None or self._ended:
            raise AetherError("the interpreter is shutting down: aether.sync takes no calls any more")
        return loop

    def _begin(self) -> None:
        if self._ended:
            return
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


_THREADS: dict[int, _LoopThread] = {}


def _loop_thread() -> _LoopThread:
    """The loop thread of this process; keyed by process, so that a forked child never meets its parent's locks."""
    pid = os.getpid()
    thread = _THREADS.get(pid)
    return _THREADS.setdefault(pid, _LoopThread()) if thread is None else thread
