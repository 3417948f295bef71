"""Our stores beside other stores for Python programs: the same work, each with the guarantees it has."""

from __future__ import annotations

import contextlib
import importlib.util
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aether.bench.measure import WALL, Side, compare
from aether.bench.peer_stores import InMemoryPeer, MessageStore, Ours, Peer, Recorder, uma
from aether.bench.setting import check
from aether.store.memory import InMemoryEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from aether.bench.lines import Line
    from aether.bench.setting import Setting

__all__ = ["PACKAGES", "lines"]

PACKAGES = ("eventsourcing", "eventsource-py", "message-store", "umadb")
ACTORS = 1_000
LENGTH = 100
"""How many events an actor has that is loaded."""


class Known(NamedTuple):
    """A peer that may be there.

    Attributes:
        name: what it is called where it is not there.
        module: what has to be installed.
        opened: opens an empty one.
    """

    name: str
    module: str
    opened: Callable[[Setting], AbstractAsyncContextManager[Peer]]


@contextlib.asynccontextmanager
async def _popo(_: Setting) -> AsyncIterator[Peer]:
    from eventsourcing.popo import POPOAggregateRecorder  # noqa: PLC0415 - optional

    yield Recorder("eventsourcing, in memory", POPOAggregateRecorder(), "no order over all actors; data is encoded outside")


@contextlib.asynccontextmanager
async def _eventsource(_: Setting) -> AsyncIterator[Peer]:
    yield InMemoryPeer()


@contextlib.asynccontextmanager
async def _sqlite(_: Setting) -> AsyncIterator[Peer]:
    from eventsourcing.sqlite import SQLiteAggregateRecorder, SQLiteDatastore  # noqa: PLC0415 - optional

    with tempfile.TemporaryDirectory() as directory:
        datastore = SQLiteDatastore(str(Path(directory) / "events.db"), originator_id_type="text")
        recorder = SQLiteAggregateRecorder(datastore)
        recorder.create_table()
        try:
            yield Recorder("eventsourcing, SQLite", recorder, "one host; synced to disk before each ack; ids are not recognised")
        finally:
            datastore.close()


@contextlib.asynccontextmanager
async def _message_store(setting: Setting) -> AsyncIterator[Peer]:
    async with setting.client() as client, setting.bare_stream() as stream:
        yield MessageStore(client, stream, setting.server_cpu_ns)


MEMORY = [Known("eventsourcing", "eventsourcing", _popo), Known("eventsource-py", "eventsource", _eventsource)]
KEPT = [
    Known("eventsourcing", "eventsourcing", _sqlite),
    Known("message-store", "message_store", _message_store),
    Known("UmaDB", "umadb", uma),
]


async def lines(setting: Setting) -> list[Line]:
    """Save one event after the other, save many, and load, in memory and kept."""
    memory = Ours(InMemoryEventStore(), lambda: None)
    found = await _lines(setting, "in memory", memory, MEMORY, setting.count(20_000, 20_000, 50_000))
    async with setting.store() as store:
        kept = Ours(store, setting.server_cpu_ns)
        return [*found, *await _lines(setting, "kept", kept, KEPT, setting.count(2_000, 5_000, 10_000), many=True)]


async def _lines(setting: Setting, where: str, ours: Peer, known: list[Known], count: int, *, many: bool = False) -> list[Line]:
    repetitions = setting.repetitions(3, 5, 5)
    loaded = 2 if setting.size == "once" else 10
    async with AsyncExitStack() as stack:
        peers = [ours]
        for each in known:
            if importlib.util.find_spec(each.module) is None:
                setting.say(f"peers: {each.name} is not installed, so it is left out: pip install 'aether-events[peers]'")
            else:
                peers.append(await stack.enter_async_context(each.opened(setting)))
        setting.say(f"peers, {where}: {', '.join(peer.name for peer in peers)}; {count:,} events, {repetitions + 1} times each")
        turns = {peer.name: Turns() for peer in peers}

        async def table(scenario: str, sides: list[Side]) -> list[Line]:
            return await compare(f"peers, {where}: {scenario}", sides[0], sides[1:], repetitions=repetitions, clock=WALL)

        found = await table("save one event after the other", [_saving(peer, turns[peer.name], count) for peer in peers])
        if many:
            found += await table("save many", [_saving_many(peer, turns[peer.name], count) for peer in peers])
        for peer in peers:
            for actor_id, version in Turns("loaded", loaded).take(loaded * LENGTH):
                await peer.save(actor_id, version)
        return [*found, *await table(f"load an actor of {LENGTH} events", [_loading(peer, loaded) for peer in peers])]


class Turns:
    """Actors in turn, each with its next version."""

    def __init__(self, prefix: str = "device", actors: int = ACTORS) -> None:
        self._prefix, self._actors, self._next = prefix, actors, 0

    def take(self, count: int) -> list[tuple[str, int]]:
        """Return the next actors and versions."""
        numbers = range(self._next, self._next + count)
        self._next += count
        return [(f"{self._prefix}-{number % self._actors}", number // self._actors + 1) for number in numbers]


def _side(
    peer: Peer,
    run: Callable[..., object],
    operations: int,
    prepare: Callable[[], object] = lambda: None,
    samples: list[int] | None = None,
) -> Side:
    measured = [] if samples is None else samples
    return Side(peer.name, run, operations, prepare, samples=measured, differs=peer.differs, server_cpu_ns=peer.server_cpu_ns)


def _saving(peer: Peer, turns: Turns, count: int) -> Side:
    samples: list[int] = []

    async def run(numbered: list[tuple[str, int]]) -> None:
        for actor_id, version in numbered:
            begin = WALL()
            await peer.save(actor_id, version)
            samples.append(WALL() - begin)

    return _side(peer, run, count, lambda: turns.take(count), samples)


def _saving_many(peer: Peer, turns: Turns, count: int) -> Side:
    return _side(peer, peer.save_many, count, lambda: turns.take(count))


def _loading(peer: Peer, actors: int) -> Side:
    async def run(_: None) -> None:
        for number in range(actors):
            read = await peer.load(f"loaded-{number}")
            check(holds=read == LENGTH, what=f"{peer.name} loaded {read} of {LENGTH} events")

    return _side(peer, run, actors)
