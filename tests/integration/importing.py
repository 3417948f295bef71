"""What imports are given in tests, and what a stock client says is stored of it."""

from __future__ import annotations

import asyncio
import json
import random
from collections import defaultdict
from typing import TYPE_CHECKING

import nats.js.errors
from command_line import stock_dump
from faults.dump import stock_client

if TYPE_CHECKING:
    from pathlib import Path

ACTORS = 500

DUE_S = 60.0
"""What must happen at all may take this long: processes start slowly on a machine that others use too."""


class Input:
    """A file of events in a mixed order, and what must be stored of it: each actor's ids, in their order."""

    def __init__(self, path: Path, count: int) -> None:
        self.path, self.count = path, count
        self.expected: dict[str, list[str]] = defaultdict(list)
        chance = random.Random(count)
        with path.open("w") as file:
            for number in range(count):
                actor = f"actor-{chance.randrange(ACTORS)}"
                event_id = f"{actor}-{len(self.expected[actor])}"
                self.expected[actor].append(event_id)
                fields = {"id": event_id, "actor_id": actor, "event_type": "T", "timestamp": "2013-01-01T10:17:00Z"}
                file.write(json.dumps({**fields, "data": {"n": number}}) + "\n")

    async def complaints(self, url: str, namespace: str) -> list[str]:
        """Return what is wrong with what is stored, as a stock client reads it."""
        found = defaultdict[str, list[str]](list)
        versions = defaultdict[str, list[int]](list)
        for commit in await stock_dump(url, namespace):
            found[commit["actor"]] += [event["id"] for event in commit["events"]]
            versions[commit["actor"]] += [event["version"] for event in commit["events"]]
        wrong = [
            f"{actor}: other events" for actor in found.keys() | self.expected.keys() if found[actor] != self.expected[actor]
        ]
        return wrong + [f"{actor}: gaps" for actor, of in versions.items() if of != list(range(1, len(of) + 1))]


async def count_messages(url: str, namespace: str) -> int | None:
    """Return how many messages a namespace's stream has; None: there is no such stream."""
    async with stock_client(url) as client:
        try:
            return (await client.jetstream().stream_info(f"AETHER-EVENTS-{namespace}")).state.messages
        except nats.js.errors.NotFoundError:
            return None


async def until_more(url: str, namespace: str, than: int) -> None:
    """Wait until more messages than these are stored."""
    async with asyncio.timeout(DUE_S):
        while (await count_messages(url, namespace) or 0) <= than:  # noqa: ASYNC110 - the server tells nobody
            await asyncio.sleep(0.002)
