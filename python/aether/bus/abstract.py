"""What both buses do alike: opening and closing, arguments, registered handlers, the way from `subscribe` to a subscription.

A bus derives from this and says how messages travel. It must not deliver anything to only some of those that are attached.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NoReturn, Self, TypeVar

from aether.bus.arguments import SubscribeOptions, check_event, check_timeout
from aether.bus.base import CONCURRENCY, MAX_PENDING, MAX_PENDING_BYTES
from aether.bus.handling import Handling, forget_caller
from aether.bus.intake import Intake
from aether.bus.lifetime import Lifetime
from aether.bus.pulling import chunks
from aether.bus.registering import check_kind, typed_handler
from aether.bus.subscription import BusSubscription
from aether.errors import AetherError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Iterator
    from types import TracebackType

    from aether.bus.base import BusInfo, Handler, OnError, Policy, Subscription
    from aether.event import Event

__all__ = ["AbstractEventBus"]

_LOG = logging.getLogger("aether.bus")

T = TypeVar("T")
R = TypeVar("R")


class AbstractEventBus(ABC):
    """An `EventBus` but for how messages travel.

    Args:
        timeout_s: what a call may take, in seconds.
    """

    _chunk_max = 4_096
    """How many events of `publish_many` go out before the loop has a turn."""

    def __init__(self, timeout_s: float) -> None:
        check_timeout("timeout_s", timeout_s)
        self._timeout_s = timeout_s
        self._subscriptions: dict[Intake, Lifetime] = {}
        self._registered: list[SubscribeOptions] = []
        self._registrations: list[Intake] = []
        self._opening = asyncio.Lock()
        # The loop on which the bus is open: one comparison tells everything that keeps a call from going on.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing: asyncio.Task[None] | None = None
        self._closed = False
        self._unrested = 0

    # What a bus gives.

    @abstractmethod
    async def _open(self, deadline: float) -> None:
        """Make ready to send and to attach; called again where it raised."""

    @abstractmethod
    async def _attach(self, intake: Intake, deadline: float) -> str:
        """Let the intake hear all that is published once this returns; return how far that was proven, as `ready` says it."""

    @abstractmethod
    async def _detach(self, intake: Intake) -> None:
        """Let the intake hear nothing more, whether it is attached or not; what was sent to it before is in its mailbox then.

        Raise nothing because of a lost connection.
        """

    @abstractmethod
    async def _send(self, events: list[Event], before: int) -> None:
        """Send the events in their order; `before` of the same call were sent already, for errors to say."""

    @abstractmethod
    async def _flush(self, deadline: float) -> None:
        """See `EventBus.flush`."""

    @abstractmethod
    async def _request(self, event: Event, timeout_s: float) -> Any:  # noqa: ANN401 - whatever the handler returned
        """See `EventBus.request`."""

    @abstractmethod
    async def _reply(self, reply: str, body: bytes) -> None:
        """Send an answer to where a request asked for it."""

    @abstractmethod
    async def _close(self) -> None:
        """Let go of everything; called once, after every intake was detached."""

    async def _give_up_opening(self) -> None:  # noqa: B027 - most buses open at once
        """Let `_open` raise, if it is waiting for something."""

    def _check_options(self, options: SubscribeOptions) -> None:  # noqa: B027 - most buses refuse nothing more
        """Refuse what this bus cannot do."""

    def _make_intake(self, options: SubscribeOptions) -> Intake:
        """Make what a subscription's events come into."""
        return Intake(options)

    @abstractmethod
    async def info(self) -> BusInfo:
        """Say what this bus is."""

    # Opening and closing.

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            try:
                await self.aclose()
            except AetherError as hidden:
                # What happened in the block is the cause that its caller has to know.
                error.add_note(f"and closing the bus: {hidden}")
            return
        await self._until_closed(self._begin_closing(lambda lifetime: lifetime.handling is not None))
        for intake in self._registrations:
            intake.raise_failure()

    async def start(self) -> None:
        """Open the bus, and subscribe the handlers registered by `on`; see `EventBus.start`."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._check_owner(loop)
        async with self._opening:
            if self._closed:
                self._refuse_closed()
            if self._loop is None:
                await self._open(self._deadline())
                try:
                    while len(self._registrations) < len(self._registered):
                        await self._subscribe(self._registered[len(self._registrations)], registered=True)
                except BaseException:
                    self._registrations.clear()
                    await self._close_subscriptions()
                    raise
                self._loop = loop

    def _check_owner(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._closed:
            self._refuse_closed()
        if self._loop is not None and self._loop is not loop:
            raise AetherError(f"{self!r} belongs to another event loop or process; open one in each, or use aether.sync")

    def _refuse_closed(self) -> NoReturn:
        raise AetherError(f"{self!r} was closed; make a new one")

    def _deadline(self) -> float:
        return asyncio.get_running_loop().time() + self._timeout_s

    async def aclose(self) -> None:
        """Flush, and close every subscription; see `EventBus.aclose`."""
        if self._closing is not None:
            for intake in self._subscriptions:
                intake.close()  # what is still being drained
        await self._until_closed(self._begin_closing(lambda _: False))

    async def drain(self) -> None:
        """Hear nothing new, let what is pending be handled or read, and close; see `EventBus.drain`."""
        await self._until_closed(self._begin_closing(lambda _: True))

    def _begin_closing(self, is_drained: Callable[[Lifetime], bool]) -> asyncio.Task[None]:
        if self._closing is None:
            if self._loop is not None:
                self._check_owner(asyncio.get_running_loop())
            self._closed = True
            self._closing = asyncio.create_task(self._end(is_drained), name="aether-bus-closing")
        return self._closing

    async def _until_closed(self, closing: asyncio.Task[None]) -> None:
        if not any(lifetime.is_called_from_here() for lifetime in self._subscriptions.values()):
            await asyncio.shield(closing)

    async def _end(self, is_drained: Callable[[Lifetime], bool]) -> None:
        forget_caller()
        if self._loop is None:
            await self._give_up_opening()
        async with self._opening:
            try:
                undrained = await self._drain_subscriptions(is_drained)
                await self._close_subscriptions()
                if self._loop is not None:
                    # Last, as handlers may publish until they end; and then nobody may any more.
                    self._loop = None
                    await self._flush(self._deadline())
            finally:
                self._loop = None
                await self._close()
        for error in undrained:
            raise error

    async def _drain_subscriptions(self, is_drained: Callable[[Lifetime], bool]) -> list[BaseException]:
        drained = [lifetime for lifetime in self._subscriptions.values() if is_drained(lifetime)]
        results = await asyncio.gather(*(lifetime.drain_and_wait() for lifetime in drained), return_exceptions=True)
        undrained = [result for result in results if result is not None]
        for error in undrained:
            _LOG.warning("%r: %s", self, error)  # each, as only the first is raised
        return undrained

    async def _close_subscriptions(self) -> None:
        results = await asyncio.gather(
            *(lifetime.aclose() for lifetime in list(self._subscriptions.values())), return_exceptions=True
        )
        for result in results:
            if isinstance(result, BaseException):
                raise result

    # Subscribing.

    def on(
        self,
        kind: type[T],
        /,
        *,
        event_type: str | None = None,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        group: str | None = None,
        max_pending: int = MAX_PENDING,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        policy: Policy = "error",
        on_error: OnError = "log",
        concurrency: int = CONCURRENCY,
    ) -> Callable[[Callable[[T, Event], R]], Callable[[T, Event], R]]:
        """Decorate a handler for events whose data is a `kind`; see `EventBus.on`."""
        check_kind(kind)

        def register(handler: Callable[[T, Event], R]) -> Callable[[T, Event], R]:
            if self._closed:
                self._refuse_closed()
            if self._loop is not None or self._opening.locked():
                raise AetherError(
                    f"{self!r} is open already, so a handler registered now would hear nothing; register it before, or "
                    "await bus.subscribe(handler=...)"
                )
            options = SubscribeOptions(
                actor_id=actor_id,
                actor_prefix=actor_prefix,
                event_type=kind.__name__ if event_type is None else event_type,
                group=group,
                handler=typed_handler(handler, kind),
                max_pending=max_pending,
                max_pending_bytes=max_pending_bytes,
                policy=policy,
                on_error=on_error,
                concurrency=concurrency,
            )
            self._check_options(options)
            self._registered.append(options)
            return handler

        return register

    async def subscribe(
        self,
        *,
        actor_id: str | None = None,
        actor_prefix: str | None = None,
        event_type: str | None = None,
        group: str | None = None,
        handler: Handler | None = None,
        max_pending: int = MAX_PENDING,
        max_pending_bytes: int = MAX_PENDING_BYTES,
        policy: Policy = "error",
        on_error: OnError = "log",
        concurrency: int = CONCURRENCY,
        all_namespaces: bool = False,
    ) -> Subscription:
        """Return a subscription that hears everything published from now on; see `EventBus.subscribe`."""
        options = SubscribeOptions(
            actor_id=actor_id,
            actor_prefix=actor_prefix,
            event_type=event_type,
            group=group,
            handler=handler,
            max_pending=max_pending,
            max_pending_bytes=max_pending_bytes,
            policy=policy,
            on_error=on_error,
            concurrency=concurrency,
            all_namespaces=all_namespaces,
        )
        self._check_options(options)
        await self.start()
        return await self._subscribe(options)

    async def _subscribe(self, options: SubscribeOptions, *, registered: bool = False) -> BusSubscription:
        intake = self._make_intake(options)
        handling = None if options.handler is None else Handling(intake, self._reply)
        lifetime = Lifetime(intake, handling, self._detach, self._forget, self._timeout_s)
        self._subscriptions[intake] = lifetime
        try:
            intake.ready = await self._attach(intake, self._deadline())
            if self._closed:
                self._refuse_closed()
        except BaseException:
            await lifetime.aclose()
            raise
        if registered:
            self._registrations.append(intake)
        if handling is not None:
            handling.begin()
        return BusSubscription(lifetime)

    def _note_unsent(self, reply: str, error: Exception) -> bool:
        """Take it that an answer (to where, in lower case) was refused after it was sent; say whether it was a handler's here."""
        return any(lifetime.note_unsent(reply, error) for lifetime in self._subscriptions.values())

    def _forget(self, intake: Intake) -> None:
        self._subscriptions.pop(intake, None)

    # Publishing.

    async def publish(self, event: Event) -> None:
        """Send one event to all that are subscribed to it; see `EventBus.publish`."""
        check_event("publish", event)
        if self._loop is not asyncio.get_running_loop():
            await self.start()
        await self._send([event], 0)
        self._unrested += 1
        if self._unrested >= self._chunk_max:
            await self._rest()

    async def publish_many(self, events: Iterable[Event]) -> None:
        """Send events in their order, from a list or a generator of any length; see `EventBus.publish_many`."""
        for step in self._publish_many_steps(events):
            await step

    def _publish_many_steps(self, events: Iterable[Event]) -> Iterator[Coroutine[Any, Any, None]]:
        """Pull the events where this is called; each step waits on the loop until it can go on."""
        yield self.start()
        sent = 0
        for chunk in chunks(events, self._chunk_max):
            yield self._send_chunk(chunk, sent)
            sent += len(chunk)

    async def _send_chunk(self, chunk: list[Event], before: int) -> None:
        if self._loop is not asyncio.get_running_loop():
            await self.start()  # it was closed meanwhile: say so
        await self._send(chunk, before)
        self._unrested += len(chunk)
        if self._unrested >= self._chunk_max:
            await self._rest()

    async def _rest(self) -> None:
        """Let those read who wait for it, before they fall behind."""
        self._unrested = 0
        await asyncio.sleep(0)

    async def flush(self) -> None:
        """Return once the server has everything that was published before; see `EventBus.flush`."""
        await self.start()
        await self._flush(self._deadline())

    async def request(self, event: Event, timeout: float | None = None) -> Any:  # noqa: ANN401, ASYNC109 - as the protocol has it
        """Publish an event and return what its handler returns; see `EventBus.request`."""
        check_event("request", event)
        if timeout is not None:
            check_timeout("timeout", timeout)
        await self.start()
        return await self._request(event, self._timeout_s if timeout is None else timeout)
