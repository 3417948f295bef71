"""Waiting on a condition, with a deadline."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_S = 0.002


async def until(condition: Callable[[], object], deadline_s: float = 20.0) -> None:
    """Wait until the condition holds.

    Raises:
        TimeoutError: it does not within `deadline_s`.
    """
    async with asyncio.timeout(deadline_s):
        while not condition():  # noqa: ASYNC110 - what is waited for is state of others, who tell nobody
            await asyncio.sleep(POLL_S)
