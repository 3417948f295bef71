"""Events from a caller's iterable, some at a time: large enough to be cheap, and never later than a slow source gives them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from aether.bus.arguments import check_event
from aether.event import Event

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["chunks"]

PULL_S = 0.005
"""How long a chunk may be gathered, in seconds."""


def chunks(events: Iterable[Event], chunk_max: int) -> Iterator[list[Event]]:
    """Yield the events in chunks of at most `chunk_max`.

    What came before an item that is no event, or before the source raised, is yielded first.

    Raises:
        TypeError: an item is no event, or it is one event where several are expected.
    """
    if isinstance(events, Event):
        raise TypeError("publish_many takes several events, as a list or a generator; publish takes one")
    if isinstance(events, list | tuple):
        for start in range(0, len(events), chunk_max):
            yield from _events_only(list(events[start : start + chunk_max]))
        return
    iterator = iter(events)
    ended = False
    while not ended:
        chunk: list[Event] = []
        raised: BaseException | None = None
        give_up_at = time.perf_counter() + PULL_S
        try:
            ended = True
            for event in iterator:
                chunk.append(event)
                if len(chunk) >= chunk_max or time.perf_counter() > give_up_at:
                    ended = False
                    break
        except BaseException as error:  # noqa: BLE001 - it is raised once what came before it is out
            raised = error
        yield from _events_only(chunk)
        if raised is not None:
            raise raised


def _events_only(chunk: list[Event]) -> Iterator[list[Event]]:
    if chunk and set(map(type, chunk)) != {Event}:  # no class derives from Event
        index = [type(event) is Event for event in chunk].index(False)
        if index:
            yield chunk[:index]
        check_event("publish_many", chunk[index])
    if chunk:
        yield chunk
