"""Owners of shards that are killed, stopped, blocked, told to leave and cut off while they write: judged by the raw stream.

Each group is a namespace with processes of its own. `AETHER_OWNER_KILLS` and `AETHER_OWNER_ZOMBIES` say how many owners are
killed and stopped, `AETHER_OWNER_GROUPS` by how many groups at once, `AETHER_OWNER_TTL` how long leases live, in seconds, and
`AETHER_FAILOVERS` names a file that the histogram of the failovers is appended to.
"""

from __future__ import annotations

import os
import random
import secrets
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faults.owners import PATIENCE_S, Settings, group
from faults.proxy import Proxy
from faults.takeovers import HARMS, Figures, churned, half_open, in_parallel, killed, stopped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractAsyncContextManager

    from conftest import Size
    from faults.owners import Group

    from aether import EmbeddedServer
    from aether.testing import NatsCluster

LONG_S = 4 * 3_600
pytestmark = pytest.mark.timeout(LONG_S)


@dataclass
class Run:
    """What the groups of a test share."""

    namespace: str
    directory: Path
    dice: random.Random
    size: Size

    def group(self, url: str, settings: Settings, *, nodes: int = 3, name: str = "x") -> AbstractAsyncContextManager[Group]:
        """Run some nodes of a namespace."""
        seeded = random.Random(self.dice.getrandbits(32))
        return group(url, f"{self.namespace}-{name}", self.directory, seeded, settings, nodes=nodes)

    def deal(self, harms: Sequence[str], groups: int) -> list[list[str]]:
        """Deal harms to groups, in any order."""
        shuffled = self.dice.sample(harms, len(harms))
        return [shuffled[number::groups] for number in range(groups)]


@pytest.fixture
def run(namespace: str, tmp_path: Path, size: Size) -> Run:
    """The test's own, with dice whose seed is printed, and can be given."""
    seed = int(os.environ.get("AETHER_SEED", secrets.randbits(32)))
    sys.stdout.write(f"AETHER_SEED={seed}\n")
    return Run(namespace, tmp_path, random.Random(seed), size)


def number(name: str, otherwise: int) -> int:
    """Return a number from the environment."""
    return int(os.environ.get(name, otherwise))


def report(figures: Figures, groups: Sequence[Group], began: float, ttl: int) -> None:
    """Tell what a run was like, on the terminal and where the environment says."""
    accepted = sum(len(each.told.accepted) for each in groups)
    text = (
        f"{datetime.now(UTC):%Y-%m-%d}: {time.monotonic() - began:.0f} s, {len(groups)} groups, time to live {ttl} s: {figures};"
        f" {accepted:,} writes accepted\n{figures.histogram()}\n"
    )
    sys.stdout.write(text)
    if path := os.environ.get("AETHER_FAILOVERS"):
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(text)


async def harm_groups(url: str, run: Run, settings: Settings, plans: Sequence[Sequence[str]]) -> tuple[list[str], Figures]:
    """Run a group for each plan, all at once; return what is wrong with all of them, and the figures."""
    figures, began = Figures(), time.monotonic()
    wrong: list[str] = []
    groups: list[Group] = []

    async def harm(name: str, plan: Sequence[str]) -> None:
        async with run.group(url, settings, name=name, nodes=run.size.pick(2, 3, 3)) as made:
            groups.append(made)
            for harm in plan:
                await HARMS[harm](made, figures)
            wrong.extend(await made.check())

    await in_parallel([harm(str(place), plan) for place, plan in enumerate(plans)])
    report(figures, groups, began, settings.ttl)
    return wrong, figures


async def test_killed_owners_and_zombies(nats_server: EmbeddedServer, run: Run):
    """Owners are killed, and stopped for longer than leases live: epochs never interleave, and no accepted write is lost."""
    kills = number("AETHER_OWNER_KILLS", run.size.pick(1, 60, 200))
    zombies = number("AETHER_OWNER_ZOMBIES", run.size.pick(1, 16, 50))
    settings = Settings(ttl=number("AETHER_OWNER_TTL", 3))
    groups = number("AETHER_OWNER_GROUPS", run.size.pick(1, 4, 4))
    plans = run.deal(["killed"] * kills + ["zombies"] * zombies, groups)
    wrong, figures = await harm_groups(nats_server.url, run, settings, plans)
    assert wrong == []
    assert (figures.counts.get("killed", 0), figures.counts.get("zombies", 0)) == (kills, zombies)


@pytest.mark.usefixtures("longer")
async def test_blocked_loops_and_leaving_owners(nats_server: EmbeddedServer, run: Run):
    """Owners' loops are blocked for longer than leases live, and owners leave at SIGTERM: the same holds."""
    plans = run.deal(["blocked", "terminated"] * run.size.pick(1, 4, 60), 2)
    wrong, _ = await harm_groups(nats_server.url, run, Settings(), plans)
    assert wrong == []


@pytest.mark.usefixtures("longer")
async def test_cut_and_half_open_connections(nats_server: EmbeddedServer, run: Run):
    """An owner's connections end, are reset, or stand open while nothing passes: the same holds, and it owns again."""
    figures = Figures()
    async with (
        Proxy(nats_server.url) as proxy,
        run.group(nats_server.url, Settings(timeout_s=5.0), nodes=2) as made,
    ):
        one = await made.start(url=proxy.url)
        await made.all_written(time.monotonic(), made.running())
        for _ in range(run.size.pick(1, 4, 60)):
            for cut in (proxy.cut, proxy.reset):
                cut()
                figures.did(cut.__name__)
                await made.all_written(time.monotonic(), made.running())
            await half_open(made, figures, proxy, one)
        sys.stdout.write(f"{figures}; {made.told.kinds}\n")
        assert await made.check() == []


@pytest.mark.usefixtures("longer")
async def test_a_server_killed_and_restarted(fresh_nats_server: EmbeddedServer, run: Run):
    """The one server is killed with -9, for a moment or for longer than leases live: nodes go on, and the same holds."""
    async with run.group(fresh_nats_server.url, Settings()) as made:
        for turn in range(run.size.pick(1, 4, 60)):
            await fresh_nats_server.kill()
            if turn % 2:
                await made.pause(4.0)
            await fresh_nats_server.restart()
            await made.all_written(time.monotonic(), made.running())
        sys.stdout.write(f"{made.told.kinds}\n")
        assert await made.check() == []


@pytest.mark.usefixtures("longer")
async def test_three_servers_whose_leader_is_killed(nats_cluster: NatsCluster, run: Run):
    """Of three servers the leader of events, or of leases, is killed, then an owner killed or stopped: the same holds."""
    figures = Figures()
    async with run.group(",".join(nats_cluster.urls), Settings(replicas=3)) as made:
        for turn in range(run.size.pick(1, 2, 40)):
            stream = ("AETHER-EVENTS", "AETHER-COORD")[turn % 2]
            leader = await nats_cluster.leader_of(f"{stream}-{made.namespace}")
            await nats_cluster.kill(leader)
            figures.did(f"leaders of {stream}")
            await made.all_written(time.monotonic(), made.running())
            await nats_cluster.restart(leader)
            await (killed if turn % 2 else stopped)(made, figures)
        sys.stdout.write(f"{figures}; {made.told.kinds}\n")
        assert await made.check(nats_cluster.urls) == []


@pytest.mark.usefixtures("longer")
async def test_churn(nats_server: EmbeddedServer, run: Run):
    """Once a second a node comes, leaves or is killed, for 20 s or 600 s: in the end all write, and the same holds."""
    figures = Figures()
    async with run.group(nats_server.url, Settings(), nodes=2) as made:
        await churned(made, figures, run.size.pick(5, 20, 600), most=5)
        sys.stdout.write(f"{figures}; {made.told.kinds}\n")
        assert await made.check() == []


@pytest.mark.usefixtures("longer")
async def test_planted_bugs_are_seen(nats_server: EmbeddedServer, run: Run):
    """Of zombies whose clocks stood still with them the checker blames those that have a planted bug, and no others.

    They believe to own what they owned, so the log alone refuses their writes, unless a bug has put the fence away.
    """
    wrong: dict[str, list[str]] = {}
    least, most = run.size.pick((1, 20), (2, 30), (20, 60))

    async def harm(bug: str, pause_s: float) -> None:
        # Whoever wakes goes on with what it did, however long it was stopped.
        settings = Settings(clock="stopped", pause_s=pause_s, bug=bug, timeout_s=PATIENCE_S)
        async with run.group(nats_server.url, settings, nodes=2, name=bug.replace(" ", "-")) as made:
            for turn in range(1, most + 1):
                await stopped(made, Figures())
                # Where the zombie learns of its fate before it goes on, as on a busy machine, its bug does no harm this time.
                if turn >= least and (bug == "none" or await made.judge()):
                    break
            wrong[bug] = await made.check()

    pauses_s = {"none": 0.02, "no fence": 0.02, "ownership from a read": 0.02, "stale cache": 0.05}
    await in_parallel([harm(bug, pause_s) for bug, pause_s in pauses_s.items()])
    sys.stdout.write(f"{ {bug: (len(found), found[:1]) for bug, found in wrong.items()} }\n")
    assert {bug for bug, found in wrong.items() if found} == pauses_s.keys() - {"none"}
