"""An async face for a blocking bus, so that one contract suite judges both."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from aether.bus.handling import is_async

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator
    from types import TracebackType
    from typing import Self

    from aether.bus.base import BusInfo, SubscriptionStats
    from aether.event import Event
    from aether.sync import EventBus, Subscription

__all__ = ["AsyncBus", "AsyncSubscription"]

T = TypeVar("T")

_END: Final = object()

THREADS = 64
"""More than calls of one test that wait at the same time."""


class AsyncBus:
    """A blocking bus behind async methods; `as_async` makes one. Functions of the caller's run on the caller's loop."""

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._threads = ThreadPoolExecutor(THREADS, "aether-testing")

    async def _call(self, call: Callable[..., T], *args: Any, **kwargs: Any) -> T:  # noqa: ANN401 - passed on
        """Make a call in a thread, in the context of the caller, as `asyncio.to_thread` does."""
        context = contextvars.copy_context()
        ready = functools.partial(context.run, call, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._threads, ready)

    def _plain(self, function: Any) -> Any:  # noqa: ANN401 - a function, or what stands in its place
        """Return a plain function that has the caller's function run on the caller's loop, and waits for it."""
        if not callable(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            return function  # for the bus to refuse
        loop = asyncio.get_running_loop()

        async def run(*args: Any) -> Any:  # noqa: ANN401 - passed on
            result = function(*args)
            return await result if inspect.isawaitable(result) else result

        @functools.wraps(function, updated=())
        def plain(*args: Any) -> Any:  # noqa: ANN401 - passed on
            return asyncio.run_coroutine_threadsafe(run(*args), loop).result()

        return plain

    def _options(self, options: dict[str, Any]) -> dict[str, Any]:
        """Return the options of a subscription with the caller's functions made plain ones."""
        handler = options.get("handler")
        if callable(handler) and not is_async(handler):
            options = {"concurrency": 1, **options}  # in threads, it is this that keeps all in order
        return options | {name: self._plain(options[name]) for name in ("handler", "on_error") if name in options}

    async def __aenter__(self) -> Self:
        await self._call(self._bus.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._call(self._bus.__exit__, kind, error, traceback)

    def __repr__(self) -> str:
        return repr(self._bus)

    async def start(self) -> None:
        """See `EventBus.start`."""
        await self._call(self._bus.start)

    def on(self, kind: type[Any], /, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:  # noqa: ANN401 - passed on
        """See `EventBus.on`."""

        def register(handler: Callable[..., Any]) -> Callable[..., Any]:
            given = self._options({**options, "handler": handler})
            self._bus.on(kind, **{name: value for name, value in given.items() if name != "handler"})(given["handler"])
            return handler

        self._bus.on(kind)  # refuses what is no type at once
        return register

    async def subscribe(self, **options: Any) -> AsyncSubscription:  # noqa: ANN401 - passed on
        """See `EventBus.subscribe`."""
        return AsyncSubscription(await self._call(self._bus.subscribe, **self._options(options)), self._call)

    async def publish(self, event: Event) -> None:
        """See `EventBus.publish`."""
        await self._call(self._bus.publish, event)

    async def publish_many(self, events: Iterable[Event]) -> None:
        """See `EventBus.publish_many`."""
        await self._call(self._bus.publish_many, events)

    async def flush(self) -> None:
        """See `EventBus.flush`."""
        await self._call(self._bus.flush)

    async def request(self, event: Event, timeout: float | None = None) -> Any:  # noqa: ANN401, ASYNC109 - as the protocol has it
        """See `EventBus.request`."""
        return await self._call(self._bus.request, event, timeout)

    async def info(self) -> BusInfo:
        """See `EventBus.info`."""
        return await self._call(self._bus.info)

    async def drain(self) -> None:
        """See `EventBus.drain`."""
        await self._call(self._bus.drain)

    async def aclose(self) -> None:
        """See `EventBus.aclose`."""
        await self._call(self._bus.close)


class AsyncSubscription:
    """A blocking subscription behind async methods; `AsyncBus.subscribe` makes one."""

    def __init__(self, subscription: Subscription, call: Callable[..., Any]) -> None:
        self._subscription, self._call = subscription, call

    @property
    def ready(self) -> str:
        """See `Subscription.ready`."""
        return self._subscription.ready

    @property
    def is_live(self) -> bool:
        """See `Subscription.is_live`."""
        return self._subscription.is_live

    def __repr__(self) -> str:
        return repr(self._subscription)

    def __aiter__(self) -> AsyncIterator[Event]:
        return Following(self._subscription, self._call)

    async def __anext__(self) -> Event:
        """See `Subscription.__anext__`."""
        return await anext(Following(self._subscription, self._call))

    def batches(self, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """See `Subscription.batches`."""
        return Following(self._subscription.batches(batch_size), self._call)

    def namespaced(self) -> AsyncIterator[tuple[str, Event]]:
        """See `Subscription.namespaced`."""
        return Following(self._subscription.namespaced(), self._call)

    def stats(self) -> SubscriptionStats:
        """See `Subscription.stats`."""
        return self._subscription.stats()

    async def wait_closed(self) -> None:
        """See `Subscription.wait_closed`."""
        await self._call(self._subscription.wait_closed)

    async def drain(self) -> None:
        """See `Subscription.drain`."""
        await self._call(self._subscription.drain)

    async def aclose(self) -> None:
        """See `Subscription.aclose`."""
        await self._call(self._subscription.close)

    async def __aenter__(self) -> Self:
        await self._call(self._subscription.__enter__)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._call(self._subscription.__exit__, kind, error, traceback)


class Following(Generic[T]):
    """A blocking iterator behind an async one."""

    def __init__(self, items: Iterator[T], call: Callable[..., Any]) -> None:
        self._items, self._call = items, call

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        # StopIteration cannot pass through a coroutine, so the end is a value.
        item = await self._call(next, self._items, _END)
        if item is _END:
            raise StopAsyncIteration
        return cast("T", item)
