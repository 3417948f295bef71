"""What the benchmarks report: percentiles, extremes, CPU of servers, where a figure was taken."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest

from aether._native import shard_of
from aether.bench.cluster_writer import actor_of
from aether.bench.histogram import BIN_NS, bars, bins
from aether.bench.ingest import SHAPES
from aether.bench.lines import Line, Target, percentiles, percentiles_from
from aether.bench.measure import WALL, Side, compare
from aether.bench.peers import KEPT
from aether.bench.processes import Share, shares
from aether.bench.servers import check_servers
from aether.bench.setting import cpu_ns_of
from aether.bench.tables import about, as_json, as_text
from aether.cluster.table import SHARDS


def test_percentiles_are_of_the_samples():
    """With the histogram a percentile is a sample's value to three digits."""
    found = percentiles(range(1_000, 1_001_000, 1_000))
    assert [*found] == [pytest.approx(500_000, rel=0.002), pytest.approx(990_000, rel=0.002), pytest.approx(999_000, rel=0.002)]
    assert "HDR" in percentiles_from()


def test_percentiles_without_the_histogram_are_exact(monkeypatch):
    """Where hdrhistogram is not installed, percentiles are samples themselves, and the report says so."""
    monkeypatch.setitem(sys.modules, "hdrh", None)
    assert percentiles([*range(1_000, 0, -1)]) == (500, 990, 999)
    assert percentiles([7]) == (7, 7, 7)
    assert "without hdrhistogram" in percentiles_from()


async def test_a_line_tells_extremes_percentiles_bytes_and_server_cpu():
    """A line has the fastest and the slowest repetition, what single operations took, what was stored, and the server's time."""
    stored, samples, used = 0, [], 0

    def run(_):
        nonlocal stored, used
        stored, used = stored + 300, used + 20_000
        samples.append(5_000)

    side = Side("ours", run, 2, samples=samples, bytes_held=lambda: stored, differs="none of it")
    (line,) = await compare("both", side, [Side("theirs", run, 2)], repetitions=3, clock=WALL, server_cpu_ns=lambda: used)
    assert line.spread is not None
    assert line.spread[0] <= line.ours <= line.spread[1]
    assert line.disk_bytes == 150
    assert line.server_us == line.their_server_us == 10
    assert line.latency is not None
    assert line.latency.p999 == pytest.approx(5_000, rel=0.002)
    assert line.their_disk_bytes is None


async def test_a_side_without_a_baseline_makes_a_line_of_its_own():
    """Where no baseline is installed there is still our figure, in text and as JSON."""
    (line,) = await compare("alone", Side("ours", lambda _: None), [], repetitions=2, clock=WALL)
    told = about("a report", "typed", ["aether-events", "no-such-package"])
    assert as_json(told, [line])["lines"][0]["baseline"] is None
    assert "alone" in as_text(told, [line], rates=True)


def test_a_histogram_counts_each_sample_in_its_bin_and_stands_below_the_table():
    """A sample at a bin's beginning is in it; bins that hold nothing are left out; the report has the bars, JSON the figures."""
    histogram = bins([0, BIN_NS - 1, BIN_NS, 9 * BIN_NS])
    assert histogram == ((0, 2), (BIN_NS, 1), (9 * BIN_NS, 1))
    assert [bar.count("#") for bar in bars(histogram)] == [40, 20, 20]
    line = Line("standing still", 1, "ms", histogram=histogram)
    told = about("a report", "typed", [])
    assert as_text(told, [line]).splitlines()[-4:] == ["standing still", *bars(histogram)]
    assert as_json(told, [line])["lines"][0]["histogram_ns"] == histogram
    assert bars(()) == []


def test_a_target_may_be_for_percentiles():
    """What half, or 99 of 100, may take at most is compared with the line's percentiles; without any it is missed."""
    line = Line("standing still", 1, "ms", latency=percentiles([10] * 98 + [90] * 2))
    assert Target("p50", 10).met(line)
    assert not Target("p50", 9).met(line)
    assert not Target("p99", 10).met(line)
    assert str(Target("p99", 3.5e9)) == "p99 ≤ 3,500 ms"
    assert not Target("p99", 10).met(Line("none", 1, "ms"))


def test_every_shard_has_an_actor_that_writes_to_it():
    """The writers' actors are as many as shards, each on its own."""
    assert [shard_of(actor_of(shard)) for shard in range(SHARDS)] == [*range(SHARDS)]


def test_a_report_names_the_commit_and_what_is_not_installed():
    """A report says which commit it was taken from, and that a package is missing."""
    told = about("a report", "typed", ["no-such-package"])
    assert told["versions"] == "no-such-package not installed"
    assert re.search(r"[0-9a-f]{7}|aether-events \d", told["commit"])


def test_cpu_time_of_a_process_is_known_or_said_to_be_unknown():
    """The CPU time of processes that run is more than nothing; of none, or of one that ended, it is unknown."""
    assert (cpu_ns_of((os.getpid(),)) or 0) > 0
    assert cpu_ns_of(()) is None
    assert cpu_ns_of((os.getpid(), 2**30)) is None


def test_peak_memory_is_this_programs_own():
    """A process that holds little has a small peak, however much the process held that started it."""
    held = b"x" * 200 * 2**20
    program = "from aether.bench.measure import peak_mib; print(peak_mib())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=200)
    assert 0 < float(done.stdout) < len(held) / 2**20


@pytest.mark.parametrize(("url", "sync", "replicas"), [("nats://localhost:4222", "always", 1), ("embedded:data", None, 3)])
def test_what_cannot_be_measured_is_refused(url, sync, replicas):
    """Nobody sets how another's server syncs, and three replicas do not fit into one directory."""
    with pytest.raises(ValueError, match="--"):
        check_servers(url, sync, replicas)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_shape_makes_events_of_its_size_in_turn(shape):
    """Payloads have the size that the table names, a commit's events follow each other, and versions count from 1."""
    events = [*shape.events(0, 2 * shape.commit)]
    assert {len(event.payload) for event in events} == {shape.payload}
    assert [event.actor_id for event in events] == ["device-0"] * shape.commit + ["device-1"] * shape.commit
    assert [event.version for event in events] == [*range(1, shape.commit + 1)] * 2
    again = next(shape.events(shape.actors * shape.commit, 1))
    assert (again.actor_id, again.version) == ("device-0", shape.commit + 1)


def test_processes_have_actors_of_their_own_and_count_on():
    """Two processes share no actor, and what one makes next has the versions that follow."""
    one, other = (Share("", "", name, 6, 4) for name in ("w0", "w1"))
    first, second = one.events(0), one.events(6)
    assert not {event.actor_id for event in first} & {event.actor_id for event in other.events(0)}
    assert [event.version for event in first + second if event.actor_id == "w0-1"] == [1, 2, 3]
    assert len({(event.actor_id, event.version) for event in first + second}) == 12


def test_shares_of_a_core_are_cpu_time_through_time():
    """4 µs of CPU for an event that takes 16 µs are a quarter of a core; what is not known of a server is left out."""
    line = Line("processes, 2", 16_000, "ns", theirs=20_000, cpu_us=4, their_cpu_us=10, server_us=12, their_server_us=None)
    assert [round(share.ours) for share in shares(line, 2)] == [25, 75, 50]


@pytest.mark.parametrize("known", [known for known in KEPT if known.name != "UmaDB"], ids=lambda known: known.name)
def test_peers_are_in_the_bench_extra(known):
    """Every peer but UmaDB, whose wheel not every machine takes, is installed where tests run: none is left out unnoticed."""
    assert importlib.util.find_spec(known.module) is not None
