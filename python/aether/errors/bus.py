"""Errors of buses: what was not heard, not answered, or not published."""

from __future__ import annotations

from typing import Any

from aether.errors.base import AetherError, DeadlineError

__all__ = [
    "NoSubscriberError",
    "NotDrainedError",
    "NotPublishedError",
    "PublishInterruptedError",
    "RequestFailedError",
    "SubscriptionInterruptedError",
    "SubscriptionLaggedError",
]


class SubscriptionLaggedError(AetherError):
    """Events were dropped here, because what waits to be read reached the subscription's bound. Iteration can go on.

    Attributes:
        missed: how many events are missing between the one before this error and the one after it.
    """

    def __init__(self, missed: int) -> None:
        super().__init__(missed)
        self.missed = missed

    def __str__(self) -> str:
        return (
            f"{self.missed:,} events were missed here: they came faster than they were read; go on iterating, and read from the "
            "store what must not be missed, or allow more with max_pending= and max_pending_bytes="
        )


class SubscriptionInterruptedError(AetherError):
    """A connection was lost: events published meanwhile may be missing. Iteration can go on.

    Attributes:
        reason: what happened to the connection, and whether something is still amiss.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return (
            f"{self.reason}; events published meanwhile may have been missed: go on iterating, and read from the store what "
            "must not be missed"
        )


class NotDrainedError(DeadlineError):
    """A subscription was to end once what waits in it was handled or read, and that took too long. It has ended.

    Attributes:
        what: the subscription.
        left: how many events nobody has read, or whose handlers had not begun or not finished.
        timeout_s: the time that it had, in seconds.
    """

    def __init__(self, what: str, left: int, timeout_s: float) -> None:
        super().__init__(what, timeout_s)
        self.args = (what, left, timeout_s)
        self.left = left

    def __str__(self) -> str:
        return (
            f"{self.what} was drained, and {self.left:,} events were left when {self.timeout_s:g} s had passed; read or handle "
            "them faster, or allow more with timeout_s="
        )


class NoSubscriberError(AetherError):
    """A request was sent, and nobody is subscribed to events like it; nothing happened.

    Attributes:
        event_type: the request's type.
        actor_id: the request's actor.
    """

    def __init__(self, event_type: str, actor_id: str) -> None:
        super().__init__(event_type, actor_id)
        self.event_type, self.actor_id = event_type, actor_id

    def __str__(self) -> str:
        return (
            f"nobody is subscribed to {self.event_type!r} of {self.actor_id!r}; subscribe a handler that answers it, "
            "or try again once the service that does is up"
        )


class RequestFailedError(AetherError):
    """The handler that took a request raised, so there is no answer. Whether it had done something before, it alone knows.

    Attributes:
        reason: the handler's error, as "ValueError: no such order".
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return f"the handler failed: {self.reason}; its own process has logged where"


class PublishInterruptedError(AetherError):
    """The connection was lost before the server confirmed what was published, so some of it may not have arrived.

    Attributes:
        count: how many events may be missing at most, all published since the last `flush`.
    """

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.count = count

    def __str__(self) -> str:
        return (
            f"the connection was lost: up to {self.count:,} events published since the last flush may not have arrived; "
            "publish them again where twice does no harm, and save in a store what must not be lost"
        )


class NotPublishedError(AetherError):
    """Events were saved, and could not be published after that. They are in the store, and saving them again is not needed.

    Attributes:
        position: the position of their commit.
        events: the events, as they are stored.
    """

    def __init__(self, position: int, events: tuple[Any, ...]) -> None:
        super().__init__(position, events)
        self.position, self.events = position, events

    def __str__(self) -> str:
        why = "" if self.__cause__ is None else f" ({self.__cause__})"
        return (
            f"saved at position {self.position}, and not published: {len(self.events):,} events{why}; do not save them again, "
            "await bus.publish_many(error.events)"
        )
