"""What an event bus is: its protocols, and the values that it gives back.

`aether.testing.BusContract` says the same as tests; every bus passes it unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
    from types import TracebackType
    from typing import Self

    from aether.event import Event

__all__ = ["BusInfo", "EventBus", "Subscription", "SubscriptionStats"]

T = TypeVar("T")
R = TypeVar("R")

MAX_PENDING = 65_536
MAX_PENDING_BYTES = 64 * 2**20
CONCURRENCY = 16
"""Bounds of a subscription, where it names none."""

Policy: TypeAlias = Literal["error", "drop_oldest", "block"]
"""What happens when a subscription is full."""

OnError: TypeAlias = "Literal['log', 'stop'] | Callable[[Exception, Event | None], object]"
"""What happens when a handler raises, or its subscription missed something."""

Handler: TypeAlias = "Callable[[Event], Any]"
"""What is called with each event; sync or async. What it returns answers a request."""


class SubscriptionStats(NamedTuple):
    """What became of the events that reached a subscription: all of them are `delivered`, `pending` or `missed`.

    Attributes:
        delivered: given to the reader, or to the handler.
        pending: waiting to be read; of a closed subscription, those that never were.
        missed: dropped because the subscription was full.
        damaged: messages that were no events, or not those of their subject.
        failed: delivered events on which the handler raised, or whose answer the server refused.
    """

    delivered: int
    pending: int
    missed: int
    damaged: int
    failed: int


class BusInfo(NamedTuple):
    """What a bus is.

    Attributes:
        bus: "local" or "nats".
        namespace: the namespace, "" of a local bus.
        transport: how messages travel: "lane"; "nats-py" over a borrowed client or WebSocket; "none" of a local bus.
        server_version: the server's version, "" of a local bus.
        ready: how far a subscription reaches when `subscribe` returns: "process", "server" or "cluster".
        event_bytes_max: the largest event in bytes, as a message.
    """

    bus: str
    namespace: str
    transport: str
    server_version: str
    ready: str
    event_bytes_max: int


@runtime_checkable
class Subscription(Protocol):
    """What is subscribed to, in the order in which each publisher published it; `EventBus.subscribe` makes it.

    Read it by `async for event in subscription`, by `batches()`, or give `subscribe` a handler. Several tasks may read one
    subscription: each event goes to one of them. A read that is cancelled takes nothing.

    An error stands in the place of what is missing, is raised once, and reading can go on behind it:
    `SubscriptionLaggedError`, `SubscriptionInterruptedError`, `CorruptEventError`. `AccessDeniedError` is the end of it.
    """

    @property
    def ready(self) -> str:
        """How far it is proven to reach: "process", "server" or "cluster"; "server" also while another server is not reached."""
        ...

    @property
    def is_live(self) -> bool:
        """Whether it hears what is published now: it is not closed, and its connection is not lost."""
        ...

    def __aiter__(self) -> AsyncIterator[Event]:
        """Read event by event."""
        ...

    async def __anext__(self) -> Event:
        """Wait for the next event.

        Raises:
            SubscriptionLaggedError: events were missed here; reading can go on.
            SubscriptionInterruptedError: the connection was lost, and is back; reading can go on.
            CorruptEventError: a message that is no event; reading can go on.
            AetherError: the subscription has a handler, which gets the events.
        """
        ...

    def batches(self, batch_size: int = 1000) -> AsyncIterator[list[Event]]:
        """Read what is there, 1 to `batch_size` events at a time; each waits for the first one only."""
        ...

    def namespaced(self) -> AsyncIterator[tuple[str, Event]]:
        """Read pairs of namespace and event, as a subscription with `all_namespaces=True` needs."""
        ...

    def stats(self) -> SubscriptionStats:
        """Say how many events became what."""
        ...

    async def wait_closed(self) -> None:
        """Wait until it has ended.

        Raises:
            Exception: what ended it, if it was not `aclose`: what the handler raised under `on_error="stop"`, or
                `AccessDeniedError`.
        """
        ...

    async def drain(self) -> None:
        """Hear nothing new, and let what is pending be handled, or read; then it ends.

        A member of a group that leaves so loses nothing: what reached it, it handles, and what comes later goes to the others.
        With a handler this returns when all is handled. Without one it returns when nothing comes any more: go on reading, up
        to the end. Called by the handler itself, it does not wait for it.

        Raises:
            NotDrainedError: events were left when the bus's `timeout_s` had passed.
        """
        ...

    async def aclose(self) -> None:
        """End it: nothing more is delivered, what is pending is dropped, and who reads comes to the end.

        Handlers that run may finish within the bus's `timeout_s`; then they are cancelled, and that is logged. One that goes on
        although it is cancelled is logged a second later, and left to itself. Called by the handler itself, it does not wait
        for it.
        """
        ...

    async def __aenter__(self) -> Self:
        """Return the subscription."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it; drain it first, if it has a handler and no error is under way. Raise what ended it, as `wait_closed` does."""
        ...


@runtime_checkable
class EventBus(Protocol):
    """Publishers and subscribers that know events, not each other. At most once: what must not be lost is saved in a store.

    After `subscribe` has returned, every event that anybody publishes reaches the subscription, in the order in which its
    publisher published it, or an error there says that something is missing.
    """

    async def __aenter__(self) -> Self:
        """Open the bus, and subscribe the handlers registered by `on`."""
        ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the bus; drain subscriptions with handlers first, if no error is under way.

        Raise what a handler registered with `on_error="stop"` raised.
        """
        ...

    async def start(self) -> None:
        """Open the bus, and subscribe the handlers registered by `on`, as `async with` and the first use do."""
        ...

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
        """Decorate a handler for events whose data is a `kind`; it is called with the decoded value and the event.

        The handler is subscribed when the bus opens. What does not decode goes to `on_error`.

        Args:
            kind: a msgspec Struct, a dataclass, a pydantic model: what `Event.decode` takes.
            event_type: the events' type; None: the name of `kind`.
            actor_id: see `subscribe`, as for all that follow.
            actor_prefix: see `subscribe`.
            group: see `subscribe`.
            max_pending: see `subscribe`.
            max_pending_bytes: see `subscribe`.
            policy: see `subscribe`.
            on_error: see `subscribe`.
            concurrency: see `subscribe`.

        Raises:
            AetherError: the bus is open already; subscribe with `handler=`.
        """
        ...

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
        """Return a subscription that hears everything published from now on; what is not given takes everything.

        It lasts, and takes memory up to its bounds, until it is closed: `async with await bus.subscribe() as subscription`.

        Args:
            actor_id: this actor's events; every character is literal.
            actor_prefix: events of actors whose id begins so; not beside `actor_id`.
            event_type: events of this type.
            group: subscriptions of one group share the events: each goes to one of those that take it. Those that give
                different prefixes are different groups.
            handler: is called with each event, sync or async; what it returns answers a request. An async one runs for up to
                `concurrency` actors at once and for each actor in order; a sync one for all in order, on the event loop.
            max_pending: how many events may wait to be read, 1 or more.
            max_pending_bytes: how many bytes they may take, 1 or more.
            policy: when full. "error": new events are missed, and an error in their place says how many. "drop_oldest": the
                oldest are, and `stats` counts them. "block": publishers wait; local buses only.
            on_error: when a handler raises (or, with None for the event, the subscription missed something). "log": it is
                logged, and counted as failed. "stop": it ends the subscription; `wait_closed` raises it. A function is called
                with error and event; what it raises ends the subscription.
            concurrency: for how many actors an async handler runs at once, 1 or more.
            all_namespaces: events of every namespace, for operators; `Subscription.namespaced` says which.

        Raises:
            ServersUnreachableError: servers of the cluster by which it could not be proven that it hears them.
            ServerUnavailableError: no server answers in time.
            DeadlineError: the server does not take the subscription in time.
            AccessDeniedError: the server refuses these credentials, or this subscription.
        """
        ...

    async def publish(self, event: Event) -> None:
        """Send one event to all that are subscribed to it.

        Raises:
            CommitTooLargeError: the event does not fit one message.
            ServerUnavailableError: no server answers in time.
            AccessDeniedError: the server denied what was published to the same subject before; it tells some time after.
            DeadlineError: there was no room to send it, or a subscription with `policy="block"` stayed full.
        """
        ...

    async def publish_many(self, events: Iterable[Event]) -> None:
        """Send events in their order, from a list or a generator of any length.

        Raises:
            CommitTooLargeError: an event does not fit one message; all before it were sent.
            ServerUnavailableError: no server answers in time; the message says how many were sent, if any.
            DeadlineError: there was no room to send them; the message says how many were sent.
            AccessDeniedError: the server denied what was published to the same subject before; it tells some time after.
        """
        ...

    async def flush(self) -> None:
        """Return once the server has everything that was published before.

        Raises:
            PublishInterruptedError: the connection was lost since the last `flush`, so some of it may not have arrived.
            AccessDeniedError: the server denied some of it; of several subjects the first is told, and the others are logged.
            ServerUnavailableError: no server answers in time.
            DeadlineError: the server does not confirm it in time.
        """
        ...

    async def request(self, event: Event, timeout: float | None = None) -> Any:  # noqa: ANN401, ASYNC109 - the name is public
        """Publish an event and return what its handler returns; of several handlers, the first that answers counts.

        Args:
            event: what is asked.
            timeout: how long an answer may take, in seconds; None: the bus's `timeout_s`.

        Raises:
            NoSubscriberError: nobody is subscribed to it. On NATS this is not known where only subscriptions with an
                `actor_prefix` that does not match are there: then it is `DeadlineError`, after the whole `timeout`.
            RequestFailedError: the handler raised.
            DeadlineError: nobody answered in time; whether a handler acted, it alone knows.
            PublishInterruptedError: the connection was lost before the answer came.
            CommitTooLargeError: the event does not fit one message.
            ServerUnavailableError: no server answers in time.
            AccessDeniedError: the server denies it.
        """
        ...

    async def info(self) -> BusInfo:
        """Say what this bus is."""
        ...

    async def drain(self) -> None:
        """Hear nothing new, let what is pending be handled, or read up to the end by those who read; then close.

        Handlers may publish until then.

        Raises:
            NotDrainedError: events were left when `timeout_s` had passed; the bus is closed all the same.
        """
        ...

    async def aclose(self) -> None:
        """Flush, and close every subscription; what is pending is dropped. Also one that is being drained ends at once.

        Raises:
            AetherError: as `flush` does; it is closed all the same.
        """
        ...


Reply: TypeAlias = "Callable[[str, bytes], Awaitable[None]]"
"""Sends the body of an answer to where a request asked for it."""
