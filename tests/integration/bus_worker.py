"""A process with a bus: does what the lines of its standard input say, one after another, and answers each with a line.

publish PUBLISHER FIRST COUNT [PADDING]   publishes events FIRST, FIRST + 1, … of a publisher, flushes, answers "published"
count COUNT                               subscribes, answers "ready", hears so many events, answers what is wrong with them
answer                                    answers requests with what they ask, twice; answers "ready"
request ACTOR VALUE                       sends a request, answers what came back as JSON
"""

from __future__ import annotations

import asyncio
import json
import sys

from listening import counted, hear, wrong_in

from aether import AetherError, Event, NATSEventBus


async def serve(url: str, namespace: str, ready: str) -> None:
    """Do what the lines say until there are no more."""
    async with NATSEventBus(url, namespace=namespace, ready=ready) as bus:
        say("open")
        while line := await asyncio.to_thread(sys.stdin.readline):
            what, *rest = line.split()
            try:
                await WORK[what](bus, *rest)
            except AetherError as error:
                say(f"{type(error).__name__}: {error}")


def say(line: str) -> None:
    """Answer."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def publish(bus: NATSEventBus, publisher: str, first: str, count: str, padding: str = "0") -> None:
    """Publish events of one publisher."""
    await bus.publish_many(counted(publisher, int(first), int(count), padding=int(padding)))
    await bus.flush()
    say("published")


async def count(bus: NATSEventBus, expected: str) -> None:
    """Hear so many events and judge them."""
    async with await bus.subscribe() as subscription:
        say("ready")
        say(json.dumps(wrong_in(await hear(subscription, int(expected)))))


async def answer(bus: NATSEventBus) -> None:
    """Answer requests."""
    await bus.subscribe(handler=lambda event: [event.data, event.data])
    say("ready")


async def request(bus: NATSEventBus, actor_id: str, value: str) -> None:
    """Send a request."""
    say(json.dumps(await bus.request(Event(actor_id, "Asked", 1, value))))


WORK = {"publish": publish, "count": count, "answer": answer, "request": request}


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
