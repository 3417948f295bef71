"""What tests of the bus share: numbered events, how they are heard, what is wrong with what was heard, and other processes."""

from __future__ import annotations

import asyncio
import sys
from collections import defaultdict
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aether import Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator

DEADLINE_S = 60.0

WORKER = Path(__file__).with_name("bus_worker.py")


def counted(publisher: str, first: int, count: int, *, padding: int = 0) -> Iterator[Event]:
    """Make a publisher's events: their versions are their numbers."""
    data = "x" * padding or None
    for number in range(first, first + count):
        yield Event(publisher, "Counted", number, data)


async def hear(subscription: Any, count: int, deadline_s: float = DEADLINE_S) -> list[tuple[str, int]]:
    """Return so many events as (publisher, number)."""
    heard: list[tuple[str, int]] = []
    try:
        async with asyncio.timeout(deadline_s):
            async for batch in subscription.batches():
                heard += [(event.actor_id, event.version) for event in batch]
                if len(heard) >= count:
                    break
    except TimeoutError:
        raise AssertionError(f"{len(heard)} of {count} events came in {deadline_s:g} s; {wrong_in(heard)[:3]}") from None
    return heard


def wrong_in(heard: Iterable[tuple[str, int]], first: int | None = 1) -> list[str]:
    """Return what is wrong with events of publishers that each count up: a gap, an event twice, or one before its time.

    Args:
        heard: (publisher, number), in the order in which they were heard.
        first: each publisher's first number; None: any.
    """
    wrong, last = [], dict[str, int]()
    for publisher, number in heard:
        expected = last[publisher] + 1 if publisher in last else (number if first is None else first)
        if number != expected:
            wrong.append(f"{publisher}: {number} where {expected} was due")
        last[publisher] = number
    return wrong


def out_of_order(heard: Iterable[tuple[str, int]]) -> list[str]:
    """Return each event that came after a later one of its publisher, or twice; gaps are allowed."""
    last: dict[str, int] = defaultdict(int)
    wrong = []
    for publisher, number in heard:
        if number <= last[publisher]:
            wrong.append(f"{publisher}: {number} after {last[publisher]}")
        last[publisher] = max(number, last[publisher])
    return wrong


class Peer:
    """Another process with a bus."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def line(self) -> str:
        """Return the next line it says."""
        assert self._process.stdout is not None
        async with asyncio.timeout(DEADLINE_S):
            return (await self._process.stdout.readline()).decode().strip()

    def tell(self, what: str) -> None:
        """Say what to do, and do not wait for it."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what}\n".encode())

    async def ask(self, what: str) -> str:
        """Say what to do, and return what it answers."""
        self.tell(what)
        return await self.line()


@asynccontextmanager
async def peer_process(url: str, namespace: str, ready: str = "cluster") -> AsyncIterator[Peer]:
    """Run another process with a bus of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(WORKER), url, namespace, ready),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=2**24,
    )
    peer = Peer(process)
    try:
        assert await peer.line() == "open"
        yield peer
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(DEADLINE_S):
            assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
