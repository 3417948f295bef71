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
import statistics
import time
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = ["CPU", "WALL", "Line", "Side", "Target", "compare", "repeated", "timed"]

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
    """

    name: str
    run: Callable[[Any], object]
    operations: int = 1
    prepare: Callable[[], Any] = lambda: None
    tells: bool = False


@dataclass(frozen=True)
class Target:
    """What a line must reach.

    Attributes:
        kind: "faster": at least `bound` times the baseline's speed; "slower": at most `bound` times the baseline's time;
            "cpu": at least `bound` times less CPU time of this process; "most": our own figure is at most `bound`.
        bound: the figure.
    """

    kind: Literal["faster", "slower", "cpu", "most"]
    bound: float

    def met(self, line: Line) -> bool:
        """Whether the line reaches it."""
        match self.kind:
            case "most":
                return line.ours <= self.bound
            case "cpu":
                return line.cpu_ratio is not None and line.cpu_ratio >= self.bound
            case "faster":
                return line.ratio is not None and line.ratio >= self.bound
            case "slower":
                return line.ratio is not None and 1 / line.ratio <= self.bound

    def __str__(self) -> str:
        match self.kind:
            case "faster":
                return f"≥ {self.bound:g}x as fast"
            case "slower":
                return f"≤ {self.bound:g}x the time"
            case "cpu":
                return f"≤ 1/{self.bound:g} of the CPU"
            case "most":
                return f"≤ {self.bound:g}"


@dataclass(frozen=True)
class Line:
    """One line of a report: a scenario, our figure, and beside it the baseline's.

    Attributes:
        scenario: what was done.
        ours: our figure, a median over the repetitions; where the unit is "ns", nanoseconds for one operation.
        unit: of the figures, "ns" or what else.
        baseline: what stands beside it.
        theirs: its figure, a median too.
        ratio: the median of theirs through ours within each repetition.
        quartiles: the quartiles of that.
        fastest: our fastest repetition.
        cpu_us: CPU time of this process for one of our operations, in microseconds, a median.
        their_cpu_us: the same of the baseline.
        cpu_ratio: the median of theirs through ours within each repetition.
        targets: what must be reached.
    """

    scenario: str
    ours: float
    unit: str
    baseline: str = ""
    theirs: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    fastest: float | None = None
    cpu_us: float | None = None
    their_cpu_us: float | None = None
    cpu_ratio: float | None = None
    targets: tuple[Target, ...] = ()

    @property
    def met(self) -> bool | None:
        """Whether the targets are reached; None if there is none."""
        return all(target.met(self) for target in self.targets) if self.targets else None

    @property
    def rate_per_s(self) -> float | None:
        """Our operations a second."""
        return 1e9 / self.ours if self.unit == "ns" else None


def repeated(function: Callable[[Any], object], argument: object, operations: int, name: str) -> Side:
    """Call `function(argument)` many times: for operations so short that a call of their own would show."""

    def run(_: None) -> None:
        for _ in repeat(None, operations):
            function(argument)

    return Side(name, run, operations)


async def compare(
    scenario: str,
    ours: Side,
    baselines: Sequence[Side],
    *,
    repetitions: int,
    clock: Callable[[], int],
    targets: Sequence[Sequence[Target]] = (),
) -> list[Line]:
    """Let the sides take turns; one line for each baseline, with its targets if it has any. `clock` is `CPU` or `WALL`."""
    sides = [ours, *baselines]
    for side in sides:
        await timed(side, clock)
    times: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    for turn in range(repetitions):
        for place in range(len(sides)):
            side = sides[(turn + place) % len(sides)]
            times[side.name].append(await timed(side, clock))
    return [
        _line(scenario, times[ours.name], side.name, times[side.name], tuple(targets[place]) if place < len(targets) else ())
        for place, side in enumerate(baselines)
    ]


def _line(
    scenario: str,
    ours: Sequence[tuple[float, float]],
    name: str,
    theirs: Sequence[tuple[float, float]],
    targets: tuple[Target, ...],
) -> Line:
    pairs = [*zip(theirs, ours, strict=True)]
    lower, middle, upper = statistics.quantiles([their / our for (their, _), (our, _) in pairs], n=4)
    return Line(
        scenario,
        statistics.median(our for our, _ in ours),
        "ns",
        name,
        statistics.median(their for their, _ in theirs),
        middle,
        (lower, upper),
        min(our for our, _ in ours),
        _median([cpu for _, cpu in ours]),
        _median([cpu for _, cpu in theirs]),
        _median([their / our for (_, their), (_, our) in pairs if our]),
        targets,
    )


def _median(values: Sequence[float]) -> float | None:
    """Return the median; None where another process did the work."""
    return None if not values or math.isnan(values[0]) else statistics.median(values)


async def timed(side: Side, clock: Callable[[], int]) -> tuple[float, float]:
    """Nanoseconds by the clock, and microseconds of this process's CPU, for one operation, in one run."""
    given = side.prepare()
    if inspect.isawaitable(given):
        given = await given
    with collector_off():
        begin, begin_cpu = clock(), time.process_time_ns()
        outcome = side.run(given)
        if inspect.isawaitable(outcome):
            outcome = await outcome
        spent, spent_cpu = clock() - begin, time.process_time_ns() - begin_cpu
    if side.tells:
        return float(outcome), math.nan  # type: ignore[arg-type]  # as the attribute says
    return spent / side.operations, spent_cpu / side.operations / 1000


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collect now, so that nothing left over from before is collected on somebody's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
