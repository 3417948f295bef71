"""What a report looks like: what it was taken on, then a table to read, or JSON."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aether.bench.measure import Line

__all__ = ["about", "as_json", "as_text"]

COLUMNS = ("scenario", "ours", "CPU", "baseline", "theirs", "CPU", "ratio (quartiles)", "CPU ratio", "target", "met")
GAP = "  "


def about(title: str, command: str, packages: Iterable[str]) -> dict[str, str]:
    """Return what figures were taken on: machine, interpreter, versions, date, command."""
    model = platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line.partition(":")[2].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = f"{names[0]}, {platform.machine()}" if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**30
    return {
        "report": title,
        "command": command,
        "machine": f"{model}, {os.cpu_count()} cores, {memory} GiB, {platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}, {platform.python_compiler()}",
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
        "versions": ", ".join(f"{package} {version(package)}" for package in packages),
    }


def as_json(told: dict[str, str], lines: Sequence[Line]) -> dict[str, Any]:
    """Return one object: what it was taken on, and the lines."""
    return {**told, "lines": [_fields(line) for line in lines]}


def _fields(line: Line) -> dict[str, Any]:
    return {
        "scenario": line.scenario,
        "ours": line.ours,
        "unit": line.unit,
        "rate_per_s": line.rate_per_s,
        "client_cpu_us": line.cpu_us,
        "baseline": line.baseline or None,
        "theirs": line.theirs,
        "baseline_rate_per_s": 1e9 / line.theirs if line.theirs and line.unit == "ns" else None,
        "baseline_cpu_us": line.their_cpu_us,
        "ratio": line.ratio,
        "ratio_quartiles": line.quartiles,
        "cpu_ratio": line.cpu_ratio,
        "fastest": line.fastest,
        "targets": [str(target) for target in line.targets],
        "met": line.met,
    }


def as_text(told: dict[str, str], lines: Sequence[Line], *, rates: bool = False) -> str:
    """Return a table to read; with `rates`, operations a second in place of times."""
    rows = [COLUMNS, *(_cells(line, rates=rates) for line in lines)]
    kept = [place for place in range(len(COLUMNS)) if any(row[place] for row in rows[1:])]
    widths = {place: max(len(row[place]) for row in rows) for place in kept}
    table = [GAP.join(row[place].ljust(widths[place]) for place in kept).rstrip() for row in rows]
    return "\n".join([*(f"{name}: {value}" for name, value in told.items()), "", *table])


def _cells(line: Line, *, rates: bool) -> tuple[str, ...]:
    spread = f" ({line.quartiles[0]:.2f}-{line.quartiles[1]:.2f})" if line.quartiles else ""
    return (
        line.scenario,
        amount(line.ours, line.unit, rates=rates),
        "" if line.cpu_us is None else f"{line.cpu_us:.2f} µs",
        line.baseline,
        "" if line.theirs is None else amount(line.theirs, line.unit, rates=rates),
        "" if line.their_cpu_us is None else f"{line.their_cpu_us:.2f} µs",
        "" if line.ratio is None else f"{line.ratio:.2f}{spread}",
        "" if line.cpu_ratio is None else f"{line.cpu_ratio:.2f}",
        ", ".join(str(target) for target in line.targets),
        {True: "yes", False: "NO", None: ""}[line.met],
    )


def amount(value: float, unit: str, *, rates: bool = False) -> str:
    """Return a figure and its unit, at most three digits before the point."""
    if unit == "ns" and rates:
        return f"{1e9 / value:,.0f}/s"
    if unit == "ns" and value >= 1e6:
        return f"{value / 1e6:.2f} ms"
    if unit == "ns" and value >= 1e3:
        return f"{value / 1e3:.2f} µs"
    return f"{value:.0f} {unit}"
