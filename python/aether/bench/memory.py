"""The in-memory store beside a plain-Python store and eventsourcing's in-memory recorder: save, list, replay, memory."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from aether.bench.lines import Line, Target
from aether.bench.measure import CPU, Side, compare
from aether.bench.setting import check

if TYPE_CHECKING:
    from pathlib import Path

    from aether.bench.memory_stores import PlainStore
    from aether.bench.setting import Setting
    from aether.store.memory import InMemoryEventStore

__all__ = ["STORES", "lines", "memory_lines", "resident_bytes"]

EVENTS = 1000
READS = 10

STORES = ("aether", "plain Python", "eventsourcing recorder")
"""Whose memory is measured, ours first."""


async def lines(setting: Setting, flights: Path | None = None) -> list[Line]:
    """Save, list, replay, memory; memory with the flights where there are any."""
    missing = [name for name in ("msgpack", "eventsourcing") if importlib.util.find_spec(name) is None]
    if missing:
        setting.say(f"memory: {' and '.join(missing)}, its baselines, are not installed: pip install 'aether-events[bench]'")
        return []
    repetitions = setting.repetitions(15, 31, 101)
    setting.say(f"memory: {EVENTS:,} events, {repetitions + 1} times on each side; then once in processes of their own")
    held = 5_000 if setting.size == "once" else 60_000
    return [*await save_lines(repetitions), *await read_lines(repetitions), *memory_lines(held, flights)]


def fastest(scenario: str, line: Line, nanoseconds: float) -> Line:
    """A target for the time itself: held against the fastest repetition, the one that other work on the machine slowed least."""
    return Line(f"{scenario}, fastest", line.fastest or line.ours, "ns", targets=(Target("most", nanoseconds),))


async def save_lines(repetitions: int) -> list[Line]:
    """Build and save."""
    from aether.bench.memory_sides import save_nothing, save_ours, save_plain, save_recorder  # noqa: PLC0415 - optional
    from aether.bench.memory_stores import small_stored_event  # noqa: PLC0415 - optional

    def side(name: str, save: Any) -> Side:
        async def run(_: None) -> None:
            await save(EVENTS)

        return Side(name, run, EVENTS)

    others = [
        side("plain Python", save_plain),
        side("eventsourcing recorder", save_recorder),
        side("the same without id and time", lambda events: save_recorder(events, small_stored_event)),
        side("the loop alone, no event made", save_nothing),
    ]
    targets = [[Target("faster", 10)], [Target("faster", 10)]]
    found = await compare(
        "build and save", side("aether", save_ours), others, repetitions=repetitions, clock=CPU, targets=targets
    )
    return [*found, fastest("build and save", found[0], 1000)]


async def read_lines(repetitions: int) -> list[Line]:
    """List events without looking at their data, and replay them."""
    from aether.bench.memory_sides import ACTOR, replay, replay_recorder, save_ours, save_plain, save_recorder  # noqa: PLC0415 - optional

    ours, plain, recorder = await save_ours(EVENTS), await save_plain(EVENTS), await save_recorder(EVENTS)

    async def listed(store: InMemoryEventStore | PlainStore) -> None:
        check(holds=len(await store.get_events(ACTOR)) == EVENTS, what="events are missing")

    async def listed_recorder(store: Any) -> None:
        check(holds=len(store.select_events(ACTOR)) == EVENTS, what="events are missing")

    def side(name: str, read: Any, store: Any) -> Side:
        async def run(_: None) -> None:
            for _turn in range(READS):
                await read(store)

        return Side(name, run, READS * EVENTS)

    others = [side("plain Python", listed, plain), side("eventsourcing recorder", listed_recorder, recorder)]
    listing = await compare(
        "list 1,000 events of an actor", side("aether", listed, ours), others, repetitions=repetitions, clock=CPU
    )
    others = [side("plain Python", replay, plain), side("eventsourcing recorder", replay_recorder, recorder)]
    replaying = await compare(
        "replay 1,000 events with data",
        side("aether", replay, ours),
        others,
        repetitions=repetitions,
        clock=CPU,
        targets=[[Target("faster", 1)], [Target("faster", 1)]],
    )
    return [*listing, fastest("list 1,000 events", listing[0], 60), *replaying]


def memory_lines(events: int, flights: Path | None = None) -> list[Line]:
    """Resident memory of a process that holds the events."""
    ours, *others = (resident_bytes(name, events, flights) for name in STORES)
    names = STORES[1:]
    scenario = f"memory, {events:,} {'flights' if flights else 'events'}"
    found = [Line(scenario, ours, "B/event", name, theirs, theirs / ours) for name, theirs in zip(names, others, strict=True)]
    return [*found, Line(f"{scenario}, ours", ours, "B/event", targets=(Target("most", 300),))]


def resident_bytes(store: str, events: int, file: Path | None = None) -> float:
    """Bytes an event, measured in a process of its own."""
    command = [sys.executable, "-m", "aether.bench.resident", store, str(events), *([str(file)] if file else [])]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)  # noqa: S603 - this package
