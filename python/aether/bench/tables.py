"""What a report looks like: what it was taken on, then a table to read, or JSON."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aether.bench.histogram import bars
from aether.bench.lines import percentiles_from

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from aether.bench.lines import Line

__all__ = ["about", "as_json", "as_text"]

SIDE = ("CPU", "server CPU", "p50 / p99 / p99.9", "stored")
COLUMNS = (
    "scenario",
    "ours (min-max)",
    *SIDE,
    "our peak memory",
    "baseline",
    "theirs (min-max)",
    *SIDE,
    "ratio (quartiles)",
    "CPU ratio",
    "target",
    "met",
    "the baseline promises otherwise",
)
GAP = "  "
GIT_S = 10


def about(title: str, command: str, packages: Iterable[str]) -> dict[str, str]:
    """Return what figures were taken on: machine, interpreter, versions, commit, date, command."""
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
        "commit": commit(),
        "versions": ", ".join(f"{package} {_version(package)}" for package in packages),
        "figures": f"medians; percentiles from {percentiles_from()}",
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def commit() -> str:
    """Return what `git describe` says of the tree that this runs from; the version where it is installed without one."""
    here = Path(__file__).resolve()
    root = next((parent for parent in here.parents if (parent / ".git").exists()), None)
    git = shutil.which("git")
    if root is not None and git is not None and here.is_relative_to(root / "python" / "aether"):
        asked = [git, "-C", str(root), "describe", "--always", "--dirty", "--tags"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=GIT_S)  # noqa: S603 - as in PATH
        if said.returncode == 0:
            return said.stdout.strip()
    return f"none; aether-events {version('aether-events')}"


def as_json(told: dict[str, str], lines: Sequence[Line]) -> dict[str, Any]:
    """Return one object: what it was taken on, and the lines."""
    return {**told, "lines": [_fields(line) for line in lines]}


def _fields(line: Line) -> dict[str, Any]:
    return {
        "scenario": line.scenario,
        "ours": line.ours,
        "ours_min_max": line.spread,
        "unit": line.unit,
        "rate_per_s": line.rate_per_s,
        "client_cpu_us": line.cpu_us,
        "server_cpu_us": line.server_us,
        "latency_ns": line.latency._asdict() if line.latency else None,
        "histogram_ns": line.histogram or None,
        "disk_bytes": line.disk_bytes,
        "peak_mib": line.peak_mib,
        "baseline": line.baseline or None,
        "theirs": line.theirs,
        "theirs_min_max": line.their_spread,
        "baseline_rate_per_s": 1e9 / line.theirs if line.theirs and line.unit == "ns" else None,
        "baseline_cpu_us": line.their_cpu_us,
        "baseline_server_cpu_us": line.their_server_us,
        "baseline_latency_ns": line.their_latency._asdict() if line.their_latency else None,
        "baseline_disk_bytes": line.their_disk_bytes,
        "baseline_differs": line.differs or None,
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
    drawn = [text for line in lines if line.histogram for text in ("", line.scenario, *bars(line.histogram))]
    return "\n".join([*(f"{name}: {value}" for name, value in told.items()), "", *table, *drawn])


def _cells(line: Line, *, rates: bool) -> tuple[str, ...]:
    spread = f" ({line.quartiles[0]:.2f}-{line.quartiles[1]:.2f})" if line.quartiles else ""
    theirs = () if line.theirs is None else _half(line, theirs=True, rates=rates)
    return (
        line.scenario,
        *_half(line, theirs=False, rates=rates),
        "" if line.peak_mib is None else f"{line.peak_mib:.1f} MiB",
        line.baseline,
        *(theirs or [""] * 5),
        "" if line.ratio is None else f"{line.ratio:.2f}{spread}",
        "" if line.cpu_ratio is None else f"{line.cpu_ratio:.2f}",
        ", ".join(str(target) for target in line.targets),
        {True: "yes", False: "NO", None: ""}[line.met],
        line.differs,
    )


def _half(line: Line, *, theirs: bool, rates: bool) -> tuple[str, ...]:
    """Return the cells of one side: figure with extremes, CPU here and of the server, percentiles, bytes."""
    figure, spread, cpu, server, latency, disk = (
        (line.theirs, line.their_spread, line.their_cpu_us, line.their_server_us, line.their_latency, line.their_disk_bytes)
        if theirs
        else (line.ours, line.spread, line.cpu_us, line.server_us, line.latency, line.disk_bytes)
    )
    told = amount(figure or 0.0, line.unit, rates=rates)
    if spread:
        # The slowest repetition has the longest time and the lowest rate; the lower figure stands first.
        low, high = sorted(spread, reverse=rates and line.unit == "ns")
        told += f" ({amount(low, line.unit, rates=rates)}-{amount(high, line.unit, rates=rates)})"
    return (
        told,
        "" if cpu is None else f"{cpu:.2f} µs",
        ("n/a" if spread and rates and line.unit == "ns" else "") if server is None else f"{server:.2f} µs",
        "" if latency is None else " / ".join(amount(each, "ns") for each in latency),
        "" if disk is None else f"{disk:.0f} B",
    )


def amount(value: float, unit: str, *, rates: bool = False) -> str:
    """Return a figure and its unit, at most three digits before the point."""
    if unit == "ns" and rates:
        return f"{1e9 / value:,.0f}/s"
    if unit == "ns" and value >= 1e9:
        return f"{value / 1e9:.2f} s"
    if unit == "ns" and value >= 1e6:
        return f"{value / 1e6:.2f} ms"
    if unit == "ns" and value >= 1e3:
        return f"{value / 1e3:.2f} µs"
    return f"{value:.0f} {unit}"
