"""`aether demo --cluster`: three processes share the actors, one is killed under load, and nothing is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import nats.errors
import nats.js.errors

from aether.cli import audit
from aether.cli.cluster_state import reading_cluster
from aether.cli.demo_cluster_run import NODES, ClusterRun
from aether.cli.demo_cluster_view import ClusterDemoView
from aether.cli.faults import FAILED
from aether.cli.output import Output
from aether.errors import AetherError
from aether.nats.errors import client_error
from aether.nats.server import EmbeddedServer

if TYPE_CHECKING:
    from pathlib import Path

    from aether.cli.cluster_state import ClusterState
    from aether.cli.options import Settings

__all__ = ["demo_cluster"]

LOAD_S = 3.0
WARM_S = 1.5
"""For so long actors are loaded, and nothing is measured."""


async def demo_cluster(settings: Settings, directory: Path | None, sync: Literal["always"] | float) -> int:
    """Run it; return the exit code."""
    output = Output(as_json=settings.as_json)
    view = ClusterDemoView(output)
    server = EmbeddedServer(directory, sync=sync, timeout_s=max(settings.timeout_s, 10.0))
    async with server:
        try:
            if directory is not None:
                await _check_empty(server, settings.namespace)
            async with ClusterRun(server.url, settings.namespace) as run:
                view.begin(server)
                await _show(run, view, settings, server.url)
        except nats.errors.Error as error:
            raise client_error(server.url, error) from error
    output.result(view.told)
    return 0 if view.told["verified"] is True else FAILED


async def _check_empty(server: EmbeddedServer, namespace: str) -> None:
    try:
        held = await audit.count_messages(server.url, namespace)
    except nats.js.errors.NotFoundError:
        return
    raise AetherError(
        f"{server.store_dir} has the namespace {namespace!r} already ({held:,} messages), and the demo begins with none; "
        "name another --dir or another --namespace"
    )


async def _show(run: ClusterRun, view: ClusterDemoView, settings: Settings, url: str) -> None:
    """Do each step and show what it did."""
    with view.waiting("three nodes join"):
        for name in NODES:
            await run.start(name)
    async with reading_cluster(settings._replace(options=None), url) as state:
        with view.waiting("the shards are given out"):
            await run.settled(state, {*NODES})
        view.nodes(state, {name: run.pid(name) for name in NODES})
        with view.waiting("accounts are asked"):
            await run.begin_load()
            await run.measure(WARM_S)
            load = await run.measure(LOAD_S)
        view.load(load)
        # The leader is the hardest to lose: whoever decides has to be found first.
        victim = state.leader if state.leader in NODES else NODES[0]
        await _kill(run, view, state, victim)
        await _come_back(run, view, state, victim)
        await _leave(run, view, state, next(name for name in NODES if name != victim))
        with view.waiting("every account has its last answer"):
            await run.end_load()
        view.proof(await run.audit(), run.failures)


async def _kill(run: ClusterRun, view: ClusterDemoView, state: ClusterState, victim: str) -> None:
    accounts, failures = run.owned_by(state, victim), len(run.failures)
    held = len(state.table.shards_of(victim)) if state.table is not None else 0
    was_leader = state.leader == victim
    with view.waiting(f"{victim} is killed, and its lease runs out"):
        pid = run.pid(victim)
        killed_at = await run.kill(victim)
        expired_at = await run.expired(state, victim)
        settled_at = await run.settled(state, {*NODES} - {victim})
        await run.answered(accounts, settled_at)
    gap = run.gap(accounts, killed_at, failures)
    view.kill(state, (victim, pid), held, gap, was_leader=was_leader, steps=(expired_at - killed_at, settled_at - killed_at))


async def _come_back(run: ClusterRun, view: ClusterDemoView, state: ClusterState, name: str) -> None:
    before = dict(enumerate(state.table.owners)) if state.table is not None else {}
    accounts_before = {account for other in NODES if other != name for account in run.owned_by(state, other)}
    failures = len(run.failures)
    with view.waiting(f"{name} comes back, and gets its part again"):
        begun_at = asyncio.get_running_loop().time()
        await run.start(name)
        settled_at = await run.settled(state, {*NODES})
        accounts = run.owned_by(state, name) & accounts_before
        await run.answered(accounts, settled_at)
    moved = sum(owner != before[shard] for shard, owner in enumerate(state.table.owners)) if state.table is not None else 0
    view.came_back(state, (name, run.pid(name)), moved, run.gap(accounts, begun_at, failures), settled_at - begun_at)


async def _leave(run: ClusterRun, view: ClusterDemoView, state: ClusterState, name: str) -> None:
    accounts, failures = run.owned_by(state, name), len(run.failures)
    held = len(state.table.shards_of(name)) if state.table is not None else 0
    with view.waiting(f"{name} leaves"):
        told_at = await run.leave(name)
        settled_at = await run.settled(state, {*NODES} - {name})
        await run.answered(accounts, settled_at)
    view.left(state, name, held, run.gap(accounts, told_at, failures), settled_at - told_at)
