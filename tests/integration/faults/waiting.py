"""Waiting on a condition, with a deadline."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, TypeVar
from unittest.mock import patch

from aether.nats.stream_log import ATTEMPT_S_MIN

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aether import IngestPipeline, JetStreamEventStore, NATSEventBus

T = TypeVar("T")

POLL_S = 0.002

LIMIT_S = 60.0
"""What must happen at all may take this long, on a machine that is busy with other things."""

GRACE_S, TURN_S = 5.0, 0.05
"""How much longer than `timeout_s` a call may take on such a machine; and how much of that each look takes."""


async def until(condition: Callable[[], object], what: str = "what was waited for", *, limit_s: float = LIMIT_S) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it does not within `limit_s`.
    """
    try:
        async with asyncio.timeout(limit_s):
            while not condition():  # noqa: ASYNC110 - what is waited for is state of others, who tell nobody
                await asyncio.sleep(POLL_S)
    except TimeoutError:
        raise TimeoutError(f"after {limit_s:g} s still not: {what}") from None


async def in_time(call: Awaitable[T], timeout_s: float) -> T:
    """Await a call that must end, one way or another, within `timeout_s` and the grace.

    The grace is counted in looks, so that it is no shorter where others have the processor.
    """
    task = asyncio.ensure_future(call)
    done, _ = await asyncio.wait([task], timeout=timeout_s)
    for _ in range(round(GRACE_S / TURN_S)):
        if done:
            break
        done, _ = await asyncio.wait([task], timeout=TURN_S)
    if not done:
        task.cancel()
        await asyncio.wait([task])
        raise AssertionError(f"not over after {timeout_s:g} s and {GRACE_S:g} s of grace")
    return task.result()


def asking_again(who: JetStreamEventStore | IngestPipeline, after_s: float) -> None:
    """Let a store, or a pipeline, ask again when there was no answer for so long, whatever its calls may take in all."""
    who = getattr(who, "_events", who)
    assert who._attempt_s
    who._attempt_s = after_s


@contextmanager
def hurried_bus(bus: NATSEventBus, timeout_s: float) -> Iterator[None]:
    """Let calls of an open bus have this much time within the block, and all that a busy machine takes before and behind it."""
    with ExitStack() as stack:
        for part in (bus, bus._sender, bus._feeds, bus._connection):
            stack.enter_context(patch.object(part, "_timeout_s", timeout_s))
        yield


@contextmanager
def hurried(store: JetStreamEventStore, timeout_s: float) -> Iterator[None]:
    """Let calls of an open store have this much time within the block.

    Before and behind it they have what the store was made with: what goes well may take as long as a busy machine likes.
    """
    with ExitStack() as stack:
        for log in (store._events, store._snapshots._snapshots):
            stack.enter_context(patch.object(log, "timeout_s", timeout_s))
            stack.enter_context(patch.object(log, "_attempt_s", max(ATTEMPT_S_MIN, timeout_s / 4)))
        for part in (store._writer._turns, store._connection):
            stack.enter_context(patch.object(part, "_timeout_s", timeout_s))
        yield
