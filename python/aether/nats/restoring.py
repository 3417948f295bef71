"""A coordination stream that somebody deletes while it is used is made again by those who use it.

What lies in it are leases, which their holders take again, and who owns what, which nodes remember. What must not begin anew are
positions: terms and incarnations are positions, and whoever compares them relies on it that they only grow. So the new stream
begins far behind everything that was known of the old one.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from aether.errors import AetherError, ServerRefusedError
from aether.nats.errors import NO_STREAM

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Restoring", "is_missing"]

_LOG = logging.getLogger("aether.nats")

MISSING_S = 2.0
"""How long the server must say that there is no such stream, at most, before it is made again: a server that has just begun may
not know of it yet. Each waits by chance a half of this or more, so that they do not all make it at once."""

ATTEMPT_S = 2.0


def is_missing(error: AetherError) -> bool:
    """Say whether the server answers that there is no such stream."""
    return isinstance(error, ServerRefusedError) and error.err_code in NO_STREAM


class Restoring:
    """Makes one stream again, once it has been missing for a while.

    Args:
        stream: its name.
        make: makes it where it is missing, so that its positions lie behind the given one, by a deadline on the loop's clock.
    """

    def __init__(self, stream: str, make: Callable[[int, float], Awaitable[None]]) -> None:
        self._stream, self._make = stream, make
        self._due: float | None = None
        self._told = ""

    def found(self) -> None:
        """Take it that it is there."""
        self._due, self._told = None, ""

    async def missing(self, reached: int) -> None:
        """Take it that the server says that it is not there; make it again if it has said so for long enough.

        Args:
            reached: the last position that is known of it.

        Raises:
            AetherError: it could not be made; it is tried again when this was said for as long once more.
        """
        now = asyncio.get_running_loop().time()
        if self._due is None:
            self._due = now + MISSING_S * random.uniform(0.5, 1.0)  # noqa: S311 - spreads load, guards nothing
        if now < self._due:
            return
        self._due = None
        try:
            await self._make(reached, now + ATTEMPT_S)
        except AetherError as error:
            self._tell(f"it cannot be made again: {error}")
            raise
        self._tell("it is made again: leases are taken anew, and nodes keep the shards that they remember")

    def _tell(self, outcome: str) -> None:
        """Tell loudly what became of it, and not with each attempt."""
        if outcome != self._told:
            self._told = outcome
            text = "%s is gone: somebody deleted it while it is in use, or its server lost it; %s"
            _LOG.error(text, self._stream, outcome)
