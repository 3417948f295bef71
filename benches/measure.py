"""Measures two sides against each other, and prints what came out.

A machine that others use as well changes its speed from second to second, so an absolute time says little and two times taken
one after the other say as little about each other. Here the sides take turns within every repetition, and what counts is the
median over the repetitions of the ratio within each. Times in the table are medians too. What only computes is timed by the
thread's CPU clock, which stands still while others have the processor; what waits for somebody, by the wall clock. The garbage
collector is off while a side runs, as in timeit; that favours whoever makes more objects, which is never us.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import inspect
import json
import os
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

CPU = time.thread_time_ns
WALL = time.perf_counter_ns

WIDTHS = (32, 14, 30, 14, 22, 18, 4)


@dataclass(frozen=True)
class Side:
    """One of the things that are compared.

    Attributes:
        name: what the table calls it.
        run: does the work; a plain function or a coroutine function. It takes what `prepare` returned.
        operations: how many operations one run does; times are per operation.
        prepare: called before each run, outside the clock; a plain function or a coroutine function.
    """

    name: str
    run: Callable[[Any], object]
    operations: int = 1
    prepare: Callable[[], Any] = lambda: None


@dataclass(frozen=True)
class Target:
    """What a line must reach.

    Attributes:
        kind: "faster": at least `bound` times the baseline's speed; "slower": at most `bound` times the baseline's time;
            "most": our own figure is at most `bound`.
        bound: the figure.
    """

    kind: Literal["faster", "slower", "most"]
    bound: float

    def met(self, ours: float, ratio: float | None) -> bool:
        """Whether it is reached; `ratio` is the baseline's time through ours."""
        if self.kind == "most":
            return ours <= self.bound
        return ratio is not None and (ratio >= self.bound if self.kind == "faster" else 1 / ratio <= self.bound)

    def __str__(self) -> str:
        match self.kind:
            case "faster":
                return f"≥ {self.bound:g}x as fast"
            case "slower":
                return f"≤ {self.bound:g}x the time"
            case "most":
                return f"≤ {self.bound:g}"


@dataclass(frozen=True)
class Line:
    """One line of a report: a scenario, our figure, and beside it the baseline's.

    Attributes:
        scenario: what was done.
        ours: our figure, a median over the repetitions.
        unit: of the figures, "ns" or what else.
        baseline: what stands beside it.
        theirs: its figure, a median too.
        ratio: the median of theirs through ours within each repetition.
        quartiles: the quartiles of that.
        fastest: our fastest repetition.
        target: what must be reached.
    """

    scenario: str
    ours: float
    unit: str
    baseline: str = ""
    theirs: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    fastest: float | None = None
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None if there is none."""
        return self.target.met(self.ours, self.ratio) if self.target else None


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
    targets: Sequence[Target | None] = (),
) -> list[Line]:
    """Let the sides take turns; one line for each baseline, with its target if it has one. `clock` is `CPU` or `WALL`."""
    sides = [ours, *baselines]
    for side in sides:
        await timed(side, clock)
    times: dict[str, list[float]] = {side.name: [] for side in sides}
    for turn in range(repetitions):
        for place in range(len(sides)):
            side = sides[(turn + place) % len(sides)]
            times[side.name].append(await timed(side, clock))
    own = times[ours.name]
    lines = []
    for place, side in enumerate(baselines):
        ratios = [theirs / mine for theirs, mine in zip(times[side.name], own, strict=True)]
        lower, middle, upper = statistics.quantiles(ratios, n=4)
        target = targets[place] if place < len(targets) else None
        theirs = statistics.median(times[side.name])
        mine = statistics.median(own)
        lines.append(Line(scenario, mine, "ns", side.name, theirs, middle, (lower, upper), min(own), target))
    return lines


async def timed(side: Side, clock: Callable[[], int]) -> float:
    """Nanoseconds an operation, in one run."""
    given = side.prepare()
    if inspect.isawaitable(given):
        given = await given
    is_async = inspect.iscoroutinefunction(side.run)
    with collector_off():
        begin = clock()
        outcome = side.run(given)
        if is_async:
            await outcome  # type: ignore[misc]  # a coroutine function, as just asked
        return (clock() - begin) / side.operations


@contextlib.contextmanager
def collector_off() -> Iterator[None]:
    """Collect now, so that nothing left over from before is collected on somebody's time."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = f"{names[0]}, {platform.machine()}" if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return {
        "machine": f"{model}, {os.cpu_count()} cores, {memory} GiB, {platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


def report(title: str, packages: Iterable[str], lines_of: Callable[[str], Awaitable[list[Line]]]) -> int:
    """Run a report from the command line; 1 if a target is missed, else 0.

    Args:
        title: what is measured.
        packages: the distributions whose versions matter.
        lines_of: takes the size ("quick", "ci" or "full") and measures.
    """
    parser = argparse.ArgumentParser(description=title)
    parser.add_argument("--size", choices=("quick", "ci", "full"), default="quick", help="how often everything is repeated")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    lines = asyncio.run(lines_of(options.size))
    about = {
        "report": title,
        "command": " ".join(["python", f"benches/{Path(sys.argv[0]).name}", *sys.argv[1:]]),
        **machine(),
        "versions": ", ".join(f"{package} {version(package)}" for package in packages),
    }
    print(as_json(about, lines) if options.json else as_text(about, lines))
    return 1 if any(line.met is False for line in lines) else 0


def as_json(about: dict[str, str], lines: list[Line]) -> str:
    """One object: what it was taken on, and the lines."""
    return json.dumps({**about, "lines": [{**asdict(line), "met": line.met} for line in lines]}, ensure_ascii=False, indent=2)


def as_text(about: dict[str, str], lines: list[Line]) -> str:
    """A table to read."""
    head = [f"{name}: {value}" for name, value in about.items()]
    columns = ("scenario", "ours", "baseline", "theirs", "ratio (quartiles)", "target", "met")
    rows = [columns, *(cells(line) for line in lines)]
    return "\n".join(
        [*head, "", *("".join(cell.ljust(width) for cell, width in zip(row, WIDTHS, strict=True)).rstrip() for row in rows)]
    )


def cells(line: Line) -> tuple[str, ...]:
    """The cells of one row."""
    spread = f" ({line.quartiles[0]:.2f}-{line.quartiles[1]:.2f})" if line.quartiles else ""
    return (
        line.scenario,
        amount(line.ours, line.unit),
        line.baseline,
        "" if line.theirs is None else amount(line.theirs, line.unit),
        "" if line.ratio is None else f"{line.ratio:.2f}{spread}",
        str(line.target or ""),
        {True: "yes", False: "NO", None: ""}[line.met],
    )


def amount(value: float, unit: str) -> str:
    """A figure and its unit, at most three digits before the point."""
    if unit == "ns" and value >= 1e6:
        return f"{value / 1e6:.2f} ms"
    if unit == "ns" and value >= 1e3:
        return f"{value / 1e3:.2f} µs"
    return f"{value:.0f} {unit}"
