"""What is reported: lines, what they must reach, and percentiles."""

from __future__ import annotations

import importlib.util
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Line", "Percentiles", "Target", "percentiles", "percentiles_from"]

NS_MAX = 3_600_000_000_000
"""An hour: the longest that the histogram tells apart."""


class Percentiles(NamedTuple):
    """How long single operations took, in nanoseconds."""

    p50: float
    p99: float
    p999: float


def percentiles_from() -> str:
    """Say what percentiles come from here: the histogram is in the extra bench."""
    found = importlib.util.find_spec("hdrh") is not None
    return "an HDR histogram of 3 digits" if found else "all samples, sorted (without hdrhistogram)"


def percentiles(samples: Sequence[int]) -> Percentiles:
    """Return the percentiles of nanoseconds, at least one."""
    wanted = (50.0, 99.0, 99.9)
    if importlib.util.find_spec("hdrh") is None:
        ordered = sorted(samples)
        return Percentiles(*(float(ordered[max(0, math.ceil(len(ordered) * each / 100) - 1)]) for each in wanted))
    from hdrh.histogram import HdrHistogram  # noqa: PLC0415 - in the extra bench only

    histogram = HdrHistogram(1, NS_MAX, 3)
    for sample in samples:
        histogram.record_value(max(1, min(sample, NS_MAX)))
    return Percentiles(*(float(histogram.get_value_at_percentile(each)) for each in wanted))


@dataclass(frozen=True)
class Target:
    """What a line must reach.

    Attributes:
        kind: "faster": at least `bound` times the baseline's speed; "slower": at most `bound` times the baseline's time;
            "cpu": at least `bound` times less CPU time of this process; "most": our own figure is at most `bound`; "p50", "p99":
            of single operations half, or 99 of 100, took at most `bound` nanoseconds.
        bound: the figure.
    """

    kind: Literal["faster", "slower", "cpu", "most", "p50", "p99"]
    bound: float

    def met(self, line: Line) -> bool:
        """Whether the line reaches it."""
        match self.kind:
            case "most":
                return line.ours <= self.bound
            case "p50":
                return line.latency is not None and line.latency.p50 <= self.bound
            case "p99":
                return line.latency is not None and line.latency.p99 <= self.bound
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
            case "p50" | "p99":
                return f"{self.kind} ≤ {self.bound / 1e6:,.0f} ms"


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
        spread: our fastest and our slowest repetition.
        their_spread: the same of the baseline.
        cpu_us: CPU time of this process for one of our operations, in microseconds, a median.
        their_cpu_us: the same of the baseline.
        cpu_ratio: the median of theirs through ours within each repetition.
        server_us: CPU time of the servers for one of our operations, in microseconds, a median; None where they are not ours.
        their_server_us: the same of the baseline.
        latency: of single operations over all repetitions.
        their_latency: the same of the baseline.
        disk_bytes: what the stream grew by for one of our operations, as its server counts it.
        their_disk_bytes: the same of the baseline.
        peak_mib: how far our memory rose above idle, in a process of its own.
        histogram: of single operations: where each bin begins, in nanoseconds, and how many it holds; see `bins`.
        differs: what the baseline promises otherwise, where that is not what the scenario is about.
        targets: what must be reached.
    """

    scenario: str
    ours: float
    unit: str
    baseline: str = ""
    theirs: float | None = None
    ratio: float | None = None
    quartiles: tuple[float, float] | None = None
    spread: tuple[float, float] | None = None
    their_spread: tuple[float, float] | None = None
    cpu_us: float | None = None
    their_cpu_us: float | None = None
    cpu_ratio: float | None = None
    server_us: float | None = None
    their_server_us: float | None = None
    latency: Percentiles | None = None
    their_latency: Percentiles | None = None
    disk_bytes: float | None = None
    their_disk_bytes: float | None = None
    peak_mib: float | None = None
    histogram: tuple[tuple[int, int], ...] = ()
    differs: str = ""
    targets: tuple[Target, ...] = ()

    @property
    def met(self) -> bool | None:
        """Whether the targets are reached; None if there is none."""
        return all(target.met(self) for target in self.targets) if self.targets else None

    @property
    def fastest(self) -> float | None:
        """Our fastest repetition, the one that other work on the machine slowed least."""
        return self.spread[0] if self.spread else None

    @property
    def rate_per_s(self) -> float | None:
        """Our operations a second."""
        return 1e9 / self.ours if self.unit == "ns" else None
