"""Who waits for answers is ended by a loss, or by the denial of the very subject that was asked."""

from __future__ import annotations

import asyncio

import pytest

from aether.errors import AccessDeniedError
from aether.nats.errors import UnansweredError
from aether.nats.waiting import Waiting, finish

REASON = AccessDeniedError("nats://h", "no")
MANY = 50_000
"""So many that looking at all who wait for each refusal takes many minutes, which is more than any test has."""


async def asked(waiting: Waiting, *subjects: str) -> list[asyncio.Task[None]]:
    """Wait for answers from these subjects."""
    loop = asyncio.get_running_loop()
    tasks = [asyncio.ensure_future(waiting.within(loop.create_future(), subject, loop.time() + 60)) for subject in subjects]
    await asyncio.sleep(0)
    return tasks


async def test_a_denied_subject_ends_those_who_asked_it_only() -> None:
    """A denial, told in lower case, ends everyone who asked that subject and nobody else; a loss ends the others."""
    waiting = Waiting()
    first, second, other = await asked(waiting, "a.B", "a.B", "a.b.c")
    assert len(waiting) == 3
    waiting.lose(REASON, "a.b")
    for task in (first, second):
        with pytest.raises(AccessDeniedError):
            await task
    assert not other.done()
    waiting.lose(UnansweredError("lost"))
    with pytest.raises(UnansweredError, match="lost"):
        await other
    assert len(waiting) == 0


async def test_an_answer_and_a_deadline_end_a_wait_and_leave_nothing() -> None:
    """Finished or late, a wait is over, and nobody is waiting any more."""
    waiting, loop = Waiting(), asyncio.get_running_loop()
    done = loop.create_future()
    loop.call_soon(finish, done)
    await waiting.within(done, "a", loop.time() + 60)
    with pytest.raises(UnansweredError, match="in time"):
        await waiting.within(loop.create_future(), "a", loop.time())
    assert len(waiting) == 0


async def test_a_burst_of_refusals_is_cheap_however_many_wait() -> None:
    """Each of many refusals costs the same, whether few or many wait for other answers."""
    waiting = Waiting()
    tasks = await asked(waiting, *(f"a.{number}" for number in range(MANY)))
    for number in range(MANY):
        waiting.lose(REASON, f"b.{number}")
    waiting.lose(UnansweredError("lost"))
    await asyncio.gather(*tasks, return_exceptions=True)
    assert len(waiting) == 0
