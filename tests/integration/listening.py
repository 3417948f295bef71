"""What tests of the bus share: numbered events, how they are heard, what is wrong with what was heard, and other processes."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import defaultdict
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aether import Event, PublishInterruptedError, SubscriptionInterruptedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping

    from aether import NATSEventBus

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


Heard = list[tuple[str, int] | str]
"""What was heard, as (publisher, number), and what was told between."""


async def listen(subscription: Any, heard: Heard, ends: int = 1) -> None:
    """Write down what is heard and what is told, until so many ends were heard."""
    ended = set()
    while len(ended) < ends:
        try:
            event = await anext(subscription)
        except SubscriptionInterruptedError as error:
            heard.append(str(error))
            continue
        if event.event_type == "End":
            ended.add(event.actor_id)
        else:
            heard.append((event.actor_id, event.version))


async def end(bus: NATSEventBus, listening: Collection[asyncio.Task[None]], name: str = "end") -> None:
    """Publish the end again and again until all have heard it."""
    async with asyncio.timeout(DEADLINE_S):
        while not all(task.done() for task in listening):
            await bus.publish(Event(name, "End", 1))
            with contextlib.suppress(PublishInterruptedError):
                await bus.flush()
            await asyncio.wait(listening, timeout=0.01)
    await asyncio.gather(*listening)


def judge(heard: Heard, published: Mapping[str, int], lost: Mapping[str, int]) -> list[str]:
    """Return what is wrong: order, and gaps that nobody was told of.

    What was under way on a publisher's connection that is lost may be lost, or come late; its publisher is told of as many.

    Args:
        heard: by one subscription.
        published: the last number of each publisher.
        lost: how many events each publisher was told may be lost.
    """
    wrong: list[str] = []
    for publisher, count in published.items():
        absent, late, last, interrupted = dict[int, bool](), 0, 0, False
        for item in [*heard, (publisher, count + 1)]:
            if isinstance(item, str):
                interrupted = True
            elif item[0] == publisher:
                number = item[1]
                if number > last:
                    absent |= dict.fromkeys(range(last + 1, number), interrupted)
                    last, interrupted = number, False
                elif absent.pop(number, None) is None:
                    wrong.append(f"{publisher}: {number} came twice")
                else:
                    late += 1
        untold = len(absent) - sum(absent.values())
        if max(late, untold) > lost[publisher]:
            wrong.append(f"{publisher}: {untold} missing, {late} late, and it was told of {lost[publisher]}")
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
