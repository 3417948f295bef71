"""One actor with 100 events among very many messages, beside the same among few, and beside the server's own search."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

from aether._native import Commit, Event, actor_subject, events_in
from aether.bench.measure import WALL, Side, Target, compare
from aether.bench.setting import check
from aether.nats.subjects import events_stream
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from nats.aio.client import Client

    from aether.bench.measure import Line
    from aether.bench.setting import Setting

__all__ = ["lines"]

TARGETS, COMMITS, OTHERS = 20, 100, 8_000
"""What is loaded is an actor with 100 commits; 20 such lie among 8,000 others."""

FEW = 100_000
COLD_NS_MAX = 2_500_000
FASTER_FROM = 1_000_000


def spread(messages: int) -> Iterator[Event]:
    """Make one event for each message: the targets' evenly spread among those of the others."""
    every = messages // COMMITS
    versions: dict[str, int] = {}
    other = 0
    for place in range(messages):
        turn = place % every
        if turn < TARGETS:
            actor_id = f"target-{turn}"
        else:
            actor_id, other = f"other-{other % OTHERS}", other + 1
        versions[actor_id] = version = versions.get(actor_id, 0) + 1
        yield Event(actor_id, "Moved", version, {"to": place, "by": "conveyor-7", "weight_kg": 12.5})


async def scan(client: Client, namespace: str, actor_id: str) -> list[Event]:
    """Load an actor as JetStream offers it: one request, and the server looks through the stream."""
    inbox = client.new_inbox()
    answers = await client.subscribe(inbox)
    asked = {"seq": 1, "next_by_subj": actor_subject(namespace, actor_id), "batch": 1000}
    await client.publish(f"$JS.API.DIRECT.GET.{events_stream(namespace)}", json.dumps(asked).encode(), inbox)
    commits: list[tuple[int, Commit]] = []
    while True:
        message = await answers.next_msg(timeout=60)
        headers = message.headers or {}
        if headers.get("Status"):
            break
        commits.append((int(headers["Nats-Sequence"]), Commit.decode(message.data)))
    await answers.unsubscribe()
    return events_in(commits)


NAMES = [f"target-{number}" for number in range(TARGETS)]


async def lines(setting: Setting) -> list[Line]:
    """Measure."""
    few, many = setting.count(50_000, FEW, FEW), setting.messages or setting.count(100_000, 400_000, 1_000_000)
    repetitions = setting.repetitions(5, 9, 15)
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(setting.client())
        small, large = [await stack.enter_async_context(_filled(setting, messages)) for messages in (few, many)]
        namespace = (await large.info()).namespace
        setting.say(f"load: {TARGETS} actors, {repetitions + 1} times on each side")
        for name in NAMES:
            loaded = await large.get_events(name)
            check(holds=len(loaded) == COMMITS and loaded == await scan(client, namespace, name), what="the loads differ")
        searching = _side("server-side scan", lambda name: scan(client, namespace, name))
        targets = [Target("faster", 15)] if many >= FASTER_FROM else []
        warm = await compare(
            f"load, warm, {many:,} messages",
            _side("aether", large.get_events),
            [_side(f"aether, {few:,} messages", small.get_events), searching],
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
            targets=[[Target("slower", 1.3)], targets],
        )
        cold = await stack.enter_async_context(_never_seen(setting, namespace))
        return warm + await compare(
            f"load, cold, {many:,} messages",
            cold,
            [searching],
            repetitions=repetitions,
            clock=WALL,
            server_cpu_ns=setting.server_cpu_ns,
            targets=[[Target("most", COLD_NS_MAX), *targets]],
        )


@asynccontextmanager
async def _filled(setting: Setting, messages: int) -> AsyncIterator[JetStreamEventStore]:
    setting.say(f"load: filling a namespace with {messages:,} messages")
    async with setting.store() as store:
        async with store.ingest(commit_events_max=1) as pipeline:
            await pipeline.put_many(spread(messages))
        yield store


def _side(title: str, load: Callable[[str], Awaitable[list[Event]]]) -> Side:
    async def run(_: None) -> None:
        for name in NAMES:
            check(holds=len(await load(name)) == COMMITS, what=f"{name} lacks events")

    return Side(title, run, TARGETS)


@asynccontextmanager
async def _never_seen(setting: Setting, namespace: str) -> AsyncIterator[Side]:
    """Load each actor once, in a store that has never seen it: a new one for each run."""
    fresh: list[JetStreamEventStore] = []

    async def cold(_: None) -> None:
        for name in NAMES:
            check(holds=len(await fresh[0].get_events(name)) == COMMITS, what=f"{name} lacks events")

    async def renew() -> None:
        if fresh:
            await fresh.pop().aclose()
        fresh.append(JetStreamEventStore(setting.url, namespace=namespace))
        await fresh[0].info()

    try:
        yield Side("aether", cold, TARGETS, renew)
    finally:
        for store in fresh:
            await store.aclose()
