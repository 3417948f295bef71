"""Puts events of actors of its own through a pipeline, in one of several processes on a namespace.

`python -m aether.bench.ingest_process JSON`, with what `aether.bench.processes` gives it: says "ready"; for each line "make" it
makes its next events and says "made", for each line "put" it puts them and says "put". Behind each word stands the CPU time that
it has used so far, in nanoseconds, and behind that how many events it has saved.
"""

from __future__ import annotations

import asyncio
import gc
import sys
import time
from typing import TYPE_CHECKING

import msgspec

from aether.bench.processes import Share
from aether.bench.setting import TIMEOUT_S
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from aether._native import Event


async def serve(share: Share) -> None:
    """Do what the lines say."""
    gc.disable()  # as in the process that measures
    saved = 0
    events: list[Event] = []
    async with JetStreamEventStore(share.url, namespace=share.namespace, timeout_s=TIMEOUT_S) as store:
        say("ready", saved)
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line == "make\n":
                events = share.events(saved)
                say("made", saved)
                continue
            # Left to itself the pipeline would send what queues up for an actor as one commit.
            async with store.ingest(commit_events_max=1) as pipeline:
                await pipeline.put_many(events)
            saved += pipeline.stats().saved
            say("put", saved)


def say(word: str, saved: int) -> None:
    """Tell whoever started this."""
    sys.stdout.write(f"{word} {time.process_time_ns()} {saved}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(serve(msgspec.json.decode(sys.argv[1], type=Share)))
