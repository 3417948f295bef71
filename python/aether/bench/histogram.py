"""A histogram of how long things took: bins of one width, as figures for programs and as bars for people."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["BIN_NS", "bars", "bins"]

BIN_NS = 250_000_000
"""The width of a bin, in nanoseconds."""

BAR = 40


def bins(samples_ns: Iterable[int]) -> tuple[tuple[int, int], ...]:
    """Return where each bin that holds something begins, in nanoseconds, and how many samples it holds, in order."""
    counts = Counter(sample // BIN_NS for sample in samples_ns)
    return tuple((number * BIN_NS, counts[number]) for number in sorted(counts))


def bars(histogram: Sequence[tuple[int, int]]) -> list[str]:
    """Return a line for each bin."""
    most = max((count for _, count in histogram), default=1)
    return [
        f"{begin / 1e9:5.2f} to {(begin + BIN_NS) / 1e9:5.2f} s {count:6,} {'#' * round(BAR * count / most)}"
        for begin, count in histogram
    ]
