"""How long to wait before trying again: longer with each attempt, with jitter, never past a deadline."""

from __future__ import annotations

import asyncio
import random

from aether.errors import DeadlineError

__all__ = ["backoff_s", "pause"]


def backoff_s(attempt: int) -> float:
    """Return how long to wait before trying again, in seconds: longer with each attempt, with jitter."""
    return random.uniform(0.5, 1.0) * min(0.2, 0.002 * float(2 ** min(attempt, 7)))  # noqa: S311 - spreads load, guards nothing


async def pause(attempt: int, deadline: float, what: str, timeout_s: float) -> None:
    """Wait a little before trying again: longer with each attempt, with jitter, never past the deadline.

    Raises:
        DeadlineError: the deadline would pass meanwhile.
    """
    wait_s = backoff_s(attempt)
    if asyncio.get_running_loop().time() + wait_s >= deadline:
        raise DeadlineError(what, timeout_s)
    await asyncio.sleep(wait_s)
