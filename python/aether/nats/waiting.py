"""Whoever waits for an answer, by the subject that was asked: a loss ends all of them, a denied subject only its own."""

from __future__ import annotations

import asyncio

from aether.nats.errors import UnansweredError

__all__ = ["Waiting", "expire", "finish"]


class Waiting:
    """Futures of questions that are in flight.

    A server that denies a burst of publishes tells each of them, so those of a subject are found without looking at the others.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._of_subject: dict[str, set[asyncio.Future[None]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._of_subject.values()))

    async def within(self, done: asyncio.Future[None], subject: str, deadline: float) -> None:
        """Wait for `done`, which somebody else finishes.

        Raises:
            UnansweredError: not by the deadline.
            Exception: what `lose` was given meanwhile.
        """
        key = subject.lower()  # as nats-py tells it
        asked = self._of_subject.setdefault(key, set())
        asked.add(done)
        timer = self._loop.call_at(deadline, expire, done)
        try:
            await done
        finally:
            timer.cancel()
            asked.discard(done)
            if not asked and self._of_subject.get(key) is asked:
                del self._of_subject[key]

    def lose(self, reason: Exception, subject: str | None = None) -> bool:
        """End what was asked of `subject`, in lower case, or everything, with `reason`; say whether somebody waited for it."""
        waited = False
        lost = self._of_subject.values() if subject is None else [self._of_subject.get(subject, set())]
        for asked in lost:
            for done in asked:
                if not done.done():
                    done.set_exception(reason)
                    waited = True
        return waited


def finish(done: asyncio.Future[None]) -> None:
    """Let whoever waits go on."""
    if not done.done():
        done.set_result(None)


def expire(done: asyncio.Future[None], reason: str = "no answer in time") -> None:
    """End the wait without an answer."""
    if not done.done():
        done.set_exception(UnansweredError(reason))
