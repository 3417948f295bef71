"""What a proof by every server of a cluster is worth, and what it costs: subscribe on one node, publish on the others at once.

`python benches/bench_witnesses.py` prints it; pytest runs it once, small.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import statistics
import sys
import time
from typing import Literal

from aether import Event, NATSEventBus, Subscription
from aether.testing.servers import running_cluster

EVENTS = 20
"""How many events each publisher publishes at once."""
AGAIN_S = 0.02
IDLE_S = 5.0
TURNS = {"quick": 100, "ci": 300, "full": 1_000}


async def missed(urls: list[str], ready: Literal["server", "cluster"], turns: int) -> tuple[int, float]:
    """Return how many events did not come, and how long `subscribe` took, a median in milliseconds."""
    namespace, missing, times = f"bench-{secrets.token_hex(4)}", 0, []
    async with contextlib.AsyncExitStack() as stack:
        opened = [NATSEventBus(url, namespace=namespace, ready=ready) for url in urls]
        bus, *publishers = [await stack.enter_async_context(one) for one in opened]
        for turn in range(turns):
            actor = f"device-{turn}"
            began = time.perf_counter()
            subscription = await bus.subscribe(actor_id=actor)
            times.append(time.perf_counter() - began)
            events = [Event(actor, "Measured", version) for version in range(1, EVENTS + 1)]
            await asyncio.gather(*(publisher.publish_many(events) for publisher in publishers))
            last = [Event(actor, f"Last-{number}", 1) for number in range(len(publishers))]
            missing += len(publishers) * EVENTS - await heard(subscription, publishers, last)
            await subscription.aclose()
    return missing, statistics.median(times) * 1_000


async def heard(subscription: Subscription, publishers: list[NATSEventBus], last: list[Event]) -> int:
    """Return how many events came before the last of every publisher's, which it repeats until it is heard.

    It comes behind the others on the same connection: what is not there by then never comes.
    """
    count, ended = 0, set()
    async with asyncio.timeout(30):
        while len(ended) < len(publishers):
            await asyncio.gather(*(publisher.publish(event) for publisher, event in zip(publishers, last, strict=True)))
            with contextlib.suppress(TimeoutError):
                while len(ended) < len(publishers):
                    event = await asyncio.wait_for(anext(subscription), AGAIN_S)
                    if event.event_type == "Measured":
                        count += 1
                    else:
                        ended.add(event.event_type)
    return count


async def idle(urls: list[str], ready: Literal["server", "cluster"], seconds: float) -> float:
    """Return what a bus with one subscription costs when nothing is published, in CPU milliseconds a second."""
    async with NATSEventBus(urls[0], namespace=f"bench-{secrets.token_hex(4)}", ready=ready) as bus, await bus.subscribe():
        began, cpu = time.perf_counter(), time.process_time()
        await asyncio.sleep(seconds)
        return (time.process_time() - cpu) / (time.perf_counter() - began) * 1_000


async def test_witnesses_miss_nothing():
    """With witnesses no event is missed, on three nodes."""
    with running_cluster() as cluster:
        assert (await missed(cluster.urls, "cluster", 10))[0] == 0


async def main() -> None:
    """Print what each proof missed and took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=TURNS, default="quick")
    turns = TURNS[parser.parse_args().size]
    with running_cluster() as cluster:
        for ready in ("server", "cluster"):
            missing, median_ms = await missed(cluster.urls, ready, turns)
            cpu_ms = await idle(cluster.urls, ready, IDLE_S)
            total = turns * EVENTS * (len(cluster.urls) - 1)
            sys.stdout.write(
                f"ready={ready!r}: {missing:,} of {total:,} events missed, subscribe took {median_ms:.2f} ms (median), "
                f"idle {cpu_ms:.1f} CPU ms a second\n"
            )


if __name__ == "__main__":
    asyncio.run(main())
