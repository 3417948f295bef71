"""What every bus refuses in the same words: arguments out of their range, or that do not go together."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from aether._native import EventFilter
from aether.bus.base import CONCURRENCY, MAX_PENDING, MAX_PENDING_BYTES, Policy
from aether.event import Event
from aether.store.arguments import COUNT_MAX, check_int, check_is_seconds, check_text, check_timeout_s

if TYPE_CHECKING:
    from aether.bus.base import Handler, OnError

__all__ = ["SubscribeOptions", "check_event", "check_no_generator", "check_timeout"]

NAME_BYTES_MAX = 255
CONCURRENCY_MAX = 4_096


@dataclass(frozen=True, kw_only=True)
class SubscribeOptions:
    """What `EventBus.subscribe` was given, checked; its docstring says what each means.

    Raises:
        InvalidIdError: what cannot be an id, the beginning of one, a type, or a group.
        TypeError: an argument of another type.
        ValueError: an argument out of its range, or two that do not go together.
    """

    actor_id: str | None = None
    actor_prefix: str | None = None
    event_type: str | None = None
    group: str | None = None
    handler: Handler | None = None
    max_pending: int = MAX_PENDING
    max_pending_bytes: int = MAX_PENDING_BYTES
    policy: Policy = "error"
    on_error: OnError = "log"
    concurrency: int = CONCURRENCY
    all_namespaces: bool = False

    def __post_init__(self) -> None:
        if self.actor_id is not None and self.actor_prefix is not None:
            raise ValueError("give actor_id or actor_prefix, not both: an id has no other beginning than its own")
        if self.event_type is not None and not isinstance(self.event_type, str):
            raise TypeError(f"event_type must be a str, not {type(self.event_type).__name__}")
        _ = self.filter  # refuses what is none
        if self.group is not None:
            check_text("group", self.group, NAME_BYTES_MAX)
        if self.handler is not None and not callable(self.handler):
            raise TypeError(f"handler must be a function of one event, sync or async, not {type(self.handler).__name__}")
        check_no_generator("handler", self.handler)
        check_no_generator("on_error", self.on_error)
        check_int("max_pending", self.max_pending, 1, COUNT_MAX, "1 to 2**63 - 1 events")
        check_int("max_pending_bytes", self.max_pending_bytes, 1, COUNT_MAX, "1 to 2**63 - 1 bytes")
        check_int("concurrency", self.concurrency, 1, CONCURRENCY_MAX, f"1 to {CONCURRENCY_MAX:,} actors at once")
        if self.policy not in get_args(Policy):
            raise ValueError(f'policy must be "error", "drop_oldest" or "block", not {self.policy!r}')
        if not callable(self.on_error) and self.on_error not in ("log", "stop"):
            raise ValueError(f'on_error must be "log", "stop" or a function of error and event, not {self.on_error!r}')
        if not isinstance(self.all_namespaces, bool):
            raise TypeError(f"all_namespaces must be True or False, not {type(self.all_namespaces).__name__}")

    @property
    def filter(self) -> EventFilter:
        """Which events are wanted, for the native side."""
        types = None if self.event_type is None else [self.event_type]
        return EventFilter(self.actor_id, self.actor_prefix, None, types)

    @property
    def group_key(self) -> tuple[str, str] | None:
        """What the members of one group have in common; None: no group.

        The prefix belongs to it: a NATS server picks the member that gets an event before the prefix is looked at here.
        """
        return None if self.group is None else (self.group, self.actor_prefix or "")

    def __str__(self) -> str:
        """Say in messages which subscription it is."""
        names = ("actor_id", "actor_prefix", "event_type", "group")
        given = ", ".join(f"{name}={getattr(self, name)!a}" for name in names if getattr(self, name) is not None)
        return f"the subscription to {given or 'everything'}"


def check_no_generator(name: str, function: object) -> None:
    """Refuse what has a `yield` in it: calling it would run nothing of it."""
    plain = functools.partial(function).func if callable(function) else function
    for called in (plain, getattr(plain, "__call__", None)):  # noqa: B004 - what is called where it is an object
        if inspect.isgeneratorfunction(called) or inspect.isasyncgenfunction(called):
            raise TypeError(f"{name} has a yield in it, so nothing of it would run when it is called; take a function without")


def check_event(call: str, event: Any) -> None:  # noqa: ANN401 - whatever it was given
    """Refuse what is no event."""
    if not isinstance(event, Event):
        raise TypeError(f"{call} takes an Event, not {type(event).__name__}; a NewEvent gets actor and version by store.append")


def check_timeout(name: str, seconds: float) -> None:
    """Refuse what is no time to wait."""
    check_is_seconds(name, seconds)
    check_timeout_s(name, seconds)
