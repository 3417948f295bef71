"""The native mailboxes and exchange against plain ones, step by step."""

from __future__ import annotations

import random

import pytest
from plain_bus import PlainBus

from aether import Event, LocalEventBus, SubscriptionLaggedError


class Pair:
    """The same subscription on both buses."""

    def __init__(self, *subscriptions) -> None:
        self.both = subscriptions

    async def read(self, limit: int) -> None:
        """Read at most so many events, or a gap, from both."""
        results = []
        for subscription in self.both:
            try:
                batch = await anext(aiter(subscription.batches(limit))) if subscription._mailbox.has_next() else None
            except SubscriptionLaggedError as error:
                batch = error.missed
            results.append(batch)
        assert results[0] == results[1]

    def check(self) -> None:
        """Compare the counters."""
        assert self.both[0].stats() == self.both[1].stats()


def some_options(chance: random.Random) -> dict:
    """Return what to subscribe to, and a small bound."""
    wanted = chance.choice([{}, {"actor_id": "a"}, {"event_type": "X"}, {"actor_prefix": "a"}])
    return {**wanted, "max_pending": chance.randrange(1, 12), "policy": chance.choice(["error", "drop_oldest"])}


def some_events(chance: random.Random) -> list[Event]:
    """Return a few events."""
    return [
        Event(chance.choice(["a", "ab", "b"]), chance.choice("XY"), 1, chance.random()) for _ in range(chance.randrange(1, 9))
    ]


@pytest.mark.parametrize("seed", range(60))
async def test_the_native_queues_do_as_the_plain_ones(seed):
    """Whatever is published, read and closed, in whatever order, native and plain mailboxes give, miss and count the same."""
    chance = random.Random(seed)
    pairs: list[Pair] = []
    async with LocalEventBus() as native, PlainBus() as plain:
        for _ in range(120):
            what = chance.random()
            if what < 0.1 or not pairs:
                options = some_options(chance)
                pairs.append(Pair(await native.subscribe(**options), await plain.subscribe(**options)))
            elif what < 0.5:
                batch = some_events(chance)
                await native.publish_many(batch)
                await plain.publish_many(batch)
            elif what < 0.95:
                await chance.choice(pairs).read(chance.randrange(1, 9))
            else:
                for subscription in pairs.pop(chance.randrange(len(pairs))).both:
                    await subscription.aclose()
            for pair in pairs:
                pair.check()
