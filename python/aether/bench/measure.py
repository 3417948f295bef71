"""Measures two sides against each other.

A machine that others use as well changes its speed from second to second, so an absolute time says little and two times taken
one after the other say as little about each other. Here the sides take turns within every repetition, and what counts is the
median over the repetitions of the ratio within each. Times in the table are medians too. What only computes is timed by the
thread's CPU clock, which stands still while others have the processor; what waits for somebody, by the wall clock, and this
process's CPU time is told beside it. The garbage collector is off while a side runs, as in timeit; that favours whoever makes
more objects, which is never us.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import math
import resource
import statistics
import sys
import time
from dataclasses import dataclass, field, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from aether.bench.lines import Line, Target, percentiles

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["CPU", "WALL", "Line", "Side", "Target", "compare", "peak_mib", "repeated", "resident_mib", "timed"]

CPU = time.thread_time_ns
WALL = time.perf_counter_ns


@dataclass(frozen=True)
class Side:
    """One of the things that are compared.

    Attributes:
        name: what the table calls it.
        run: does the work; a plain function or a coroutine function. It takes what `prepare` returned.
        operations: how many operations one run does; times are per operation.
        prepare: called before each run, outside the clock; a plain function or a coroutine function.
        tells: `run` returns the nanoseconds that one operation took, because another process did the work.
        samples: nanoseconds of single operations, where `run` measures each and appends it here.
        bytes_held: tells how many bytes hold what this side has written so far.
        differs: what it promises otherwise than ours.
        cpu_ns: what the client has used so far, where that is not this process.
        server_cpu_ns: what its own servers have used so far; None: its servers are the comparison's.
    """

    name: str
    run: Callable[[Any], object]
    operations: int = 1
    prepare: Callable[[], Any] = lambda: None
    tells: bool = False
    samples: list[int] = field(default_factory=list)
    bytes_held: Callable[[], Any] | None = None
    differs: str = ""
    cpu_ns: Callable[[], int] = time.process_time_ns
    server_cpu_ns: Callable[[], int | None] | None = None


def repeated(function: Callable[[Any], object], argument: object, operations: int, name: str) -> Side:
    """Call `function(argument)` many times: for operations so short that a call of their own would show."""

    def run(_: None) -> None:
        for _ in repeat(None, operations):
            function(argument)

    return Side(name, run, operations)


class Spent(NamedTuple):
    """What one operation took in one run: nanoseconds by the clock, microseconds of this process's CPU and of the servers'.

    NaN stands for what cannot be known.
    """

    ns: float
    cpu_us: float
    server_us: float
    disk_bytes: float


def no_server() -> int | None:
    """Know no server whose CPU time could be told."""
    return None


async def compare(
    scenario: str,
    ours: Side,
    baselines: Sequence[Side],
    *,
    repetitions: int,
    clock: Callable[[], int],
    targets: Sequence[Sequence[Target]] = (),
    server_cpu_ns: Callable[[], int | None] = no_server,
) -> list[Line]:
    """Let the sides take turns; one line for each baseline, with its targets if it has any, or ours alone if there is none.

    Args:
        scenario: what the lines are called.
        ours: our side.
        baselines: the others.
        repetitions: how often each side runs, at least 2, after a run to warm up.
        clock: `CPU` or `WALL`.
        targets: for each baseline what must be reached; of ours alone if there is no baseline.
        server_cpu_ns: what the servers have used so far; see `Setting.server_cpu_ns`.
    """
    sides = [ours, *baselines]
    for side in sides:
        await timed(side, clock, server_cpu_ns)
        side.samples.clear()
    runs: dict[str, list[Spent]] = {side.name: [] for side in sides}
    for turn in range(repetitions):
        for place in range(len(sides)):
            side = sides[(turn + place) % len(sides)]
            runs[side.name].append(await timed(side, clock, server_cpu_ns))
    aims = [tuple(targets[place]) if place < len(targets) else () for place in range(len(sides))]
    if not baselines:
        return [_alone(scenario, ours, runs[ours.name], aims[0])]
    alone = _alone(scenario, ours, runs[ours.name], ())
    return [_beside(alone, runs[ours.name], side, runs[side.name], aims[place]) for place, side in enumerate(baselines)]


def _alone(scenario: str, side: Side, runs: Sequence[Spent], targets: tuple[Target, ...]) -> Line:
    times = [run.ns for run in runs]
    return Line(
        scenario,
        statistics.median(times),
        "ns",
        spread=(min(times), max(times)),
        cpu_us=_median([run.cpu_us for run in runs]),
        server_us=_median([run.server_us for run in runs]),
        latency=percentiles(side.samples) if side.samples else None,
        disk_bytes=_median([run.disk_bytes for run in runs]),
        targets=targets,
    )


def _beside(ours: Line, our_runs: Sequence[Spent], side: Side, runs: Sequence[Spent], targets: tuple[Target, ...]) -> Line:
    pairs = [*zip(runs, our_runs, strict=True)]
    lower, middle, upper = statistics.quantiles([their.ns / our.ns for their, our in pairs], n=4, method="inclusive")
    theirs = _alone(ours.scenario, side, runs, targets)
    return replace(
        ours,
        baseline=side.name,
        theirs=theirs.ours,
        ratio=middle,
        quartiles=(lower, upper),
        their_spread=theirs.spread,
        their_cpu_us=theirs.cpu_us,
        cpu_ratio=_median([their.cpu_us / our.cpu_us for their, our in pairs if our.cpu_us]),
        their_server_us=theirs.server_us,
        their_latency=theirs.latency,
        their_disk_bytes=theirs.disk_bytes,
        differs=side.differs,
        targets=targets,
    )


def _median(values: Sequence[float]) -> float | None:
    """Return the median; None where it cannot be known."""
    return None if not values or math.isnan(values[0]) else statistics.median(values)


async def timed(side: Side, clock: Callable[[], int], server_cpu_ns: Callable[[], int | None] = no_server) -> Spent:
    """Run one side once; return what one operation took."""
    server_cpu_ns = side.server_cpu_ns or server_cpu_ns
    given = await _settled(side.prepare())
    held = await _settled(side.bytes_held()) if side.bytes_held else math.nan
    with collector_off():
        begin_server = server_cpu_ns()
        begin, begin_cpu = clock(), side.cpu_ns()
        outcome = side.run(given)
        if inspect.isawaitable(outcome):
            outcome = await outcome
        spent, spent_cpu = clock() - begin, side.cpu_ns() - begin_cpu
        end_server = server_cpu_ns()
    grown = (await _settled(side.bytes_held()) - held) / side.operations if side.bytes_held else math.nan
    server_us = math.nan
    if begin_server is not None and end_server is not None:
        server_us = (end_server - begin_server) / side.operations / 1000
    if side.tells:
        return Spent(float(outcome), math.nan, server_us, grown)  # type: ignore[arg-type]  # as the attribute says
    return Spent(spent / side.operations, spent_cpu / side.operations / 1000, server_us, grown)


async def _settled(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value


def resident_mib() -> float:
    """Return what this process holds in memory now, in MiB; at most so far where the system does not tell."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**20
    return peak_mib()


def peak_mib() -> float:
    """Return the most that this process has held in memory, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():
        # Linux counts what the parent held before this program began into ru_maxrss.
        (peak,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(peak.split()[1]) / 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collect now, so that nothing left over from before is collected on somebody's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
