"""`aether cluster`: who is in a cluster, who owns what, and having a node give its shards away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table as Rows

from aether.cli.cluster_state import reading_cluster
from aether.cli.faults import FAILED
from aether.cli.options import Settings, shared_options
from aether.cli.output import Output
from aether.cli.session import running_server
from aether.cluster.calls import DRAIN, NodeCalls
from aether.cluster.pulse import until
from aether.cluster.table import SHARDS
from aether.errors import AetherError, DeadlineError
from aether.nats.errors import NoRespondersError, UnansweredError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    from aether.cli.cluster_state import ClusterState, Share

__all__ = ["cluster"]


@click.group()
def cluster() -> None:
    """Look at a cluster of nodes, and drain one of them.

    What is shown is read from the server; no node is asked.
    """


@cluster.command()
@shared_options()
def status(settings: Settings) -> int:
    """Show the leader, the nodes and how the shards lie.

    The exit code is 1 if a shard has no node that is there.
    """
    return _run(settings, _status)


async def _status(state: ClusterState, output: Output, _: Settings) -> int:
    shares, moving = state.shares(), 0 if state.table is None else len(state.table.moving)
    unowned = SHARDS if state.table is None else state.unowned
    more, healthy = state.to_follow, unowned == 0 and state.leader is not None
    output.pairs(
        ("namespace", state.namespace),
        ("leader", "nobody at this moment" if state.leader is None else state.leader),
        ("nodes", f"{len(state.members)}"),
        ("shards", f"{SHARDS - unowned:,} of {SHARDS:,} owned, {moving:,} moving" + (f", {more:,} to follow" if more else "")),
        (
            "table",
            "none yet" if state.table is None else f"position {state.position:,}, by the leader of term {state.table.term:,}",
        ),
    )
    _show(output, shares)
    output.result(
        {
            "namespace": state.namespace,
            "leader": state.leader,
            "shards": SHARDS,
            "unowned": unowned,
            "moving": moving,
            "to_follow": more,
            "settled": healthy and moving == 0 and more == 0,
            "table": None if state.table is None else {"position": state.position, "term": state.table.term},
            "nodes": [_told(share) for share in shares],
        }
    )
    return 0 if healthy else FAILED


@cluster.command()
@shared_options()
def members(settings: Settings) -> int:
    """Show each node, as it says of itself, and its part of the shards."""
    return _run(settings, _members)


async def _members(state: ClusterState, output: Output, _: Settings) -> int:
    _show(output, state.shares())
    output.result({"leader": state.leader, "nodes": [_told(share) for share in state.shares()]})
    return 0


@cluster.command()
@click.option("--actor", "actor_id", metavar="ACTOR", help="Show this actor's shard and its owner only.")
@shared_options()
def shards(settings: Settings, actor_id: str | None) -> int:
    """Show which shards each node owns, and which are being moved.

    With --actor the exit code is 1 if nobody owns the actor's shard.
    """

    async def show(state: ClusterState, output: Output, _: Settings) -> int:
        return _one(state, output, actor_id) if actor_id is not None else _all(state, output)

    return _run(settings, show)


def _one(state: ClusterState, output: Output, actor_id: str) -> int:
    shard, owner, target = state.owner_of(actor_id)
    moving = "" if target is None else f", moving to {target}"
    output.pairs(("shard", f"{shard}"), ("owner", f"{'nobody' if owner is None else owner}{moving}"))
    output.result({"actor_id": actor_id, "shard": shard, "owner": owner, "moving_to": target})
    return 0 if owner in state.members else FAILED


def _all(state: ClusterState, output: Output) -> int:
    table = state.table
    owned = {share.name: sorted(table.shards_of(share.name)) if table is not None else [] for share in state.shares()}
    moving = {} if table is None else dict(sorted(table.moving.items()))
    for name, numbers in owned.items():
        output.pairs((name, f"{len(numbers):,}: {_ranges(numbers)}"))
    for shard, target in moving.items():
        output.line(f"{shard} is moving to {target}", "yellow")
    output.result({"shards": owned, "moving": {str(shard): target for shard, target in moving.items()}})
    return 0


@cluster.command()
@click.argument("node", metavar="NODE")
@shared_options()
def drain(settings: Settings, node: str) -> int:
    """Have a node give all its shards away and take no more; return when others have them.

    The node stays a member; it can be ended then, and no command waits for it. It takes shards again when it joins anew.
    """

    async def work(state: ClusterState, output: Output, settings: Settings) -> int:
        return await _drain(state, output, settings, node)

    return _run(settings, work)


async def _drain(state: ClusterState, output: Output, settings: Settings, node: str) -> int:
    member = state.members.get(node)
    if member is None:
        known = ", ".join(sorted(state.members)) or "none"
        raise AetherError(f"there is no node {node!r} in the cluster; there are: {known}")
    if not any(other.takes_shards for name, other in state.members.items() if name != node):
        raise AetherError(f"no other node takes shards, so {node!r} cannot give any away; let another join first")
    loop = asyncio.get_running_loop()
    began_at = loop.time()
    deadline = began_at + settings.timeout_s
    held = next(share.shards for share in state.shares() if share.name == node)
    calls = NodeCalls(state.connection, settings.namespace, node, settings.timeout_s)
    try:
        await calls.request(node, DRAIN, b"", deadline)
    except NoRespondersError as error:
        raise AetherError(f"{node!r} does not answer; if it is gone, its shards go to others by themselves") from error
    except UnansweredError as error:
        raise DeadlineError(f"asking {node!r} to give its shards away", settings.timeout_s) from error
    await _until_empty(state, node, settings.timeout_s, deadline)
    seconds = loop.time() - began_at
    output.pairs((node, f"gave {held:,} shards away in {seconds:.2f} s; it can be ended now"))
    output.result({"node": node, "shards": held, "seconds": seconds})
    return 0


async def _until_empty(state: ClusterState, node: str, timeout_s: float, deadline: float) -> None:
    while True:
        beat = state.changed.next
        if state.table is None or node not in state.table.owners:
            return
        if not await until(beat, deadline):
            left = len(state.table.shards_of(node))
            raise DeadlineError(f"{node!r} gives its shards away, {left:,} are left and it goes on", timeout_s)


def _run(settings: Settings, work: Callable[[ClusterState, Output, Settings], Coroutine[Any, Any, int]]) -> int:
    async def run() -> int:
        async with running_server(settings, may_create=False) as url, reading_cluster(settings, url) as state:
            return await work(state, Output(as_json=settings.as_json), settings)

    return asyncio.run(run())


def _show(output: Output, shares: Iterable[Share]) -> None:
    rows = Rows(box=None, padding=(0, 2, 0, 1), header_style="dim")
    for title in ("  node", "state", "shards", "leaving", "coming", "weight", "incarnation", "address", "labels"):
        rows.add_column(title, justify="right" if title in ("shards", "leaving", "coming", "weight", "incarnation") else "left")
    for share in shares:
        member = share.member
        labels = "" if member is None else " ".join(f"{name}={value}" for name, value in sorted(member.labels.items()))
        facts = ("", "", "") if member is None else (f"{member.weight}", f"{member.incarnation:,}", member.address)
        counts = (f"{share.shards:,}", f"{share.leaving:,}", f"{share.coming:,}")
        rows.add_row(f"  {share.name}", _state(share), *counts, *facts, labels)
    output.show(rows)


def _state(share: Share) -> str:
    if share.member is None:
        return "away"
    return "draining" if share.member.draining else "active"


def _told(share: Share) -> dict[str, Any]:
    member = share.member
    facts: dict[str, Any] = {}
    if member is not None:
        facts = {
            "incarnation": member.incarnation,
            "address": member.address,
            "labels": dict(member.labels),
            "weight": member.weight,
        }
    counts = {"shards": share.shards, "leaving": share.leaving, "coming": share.coming}
    return {"name": share.name, "state": _state(share), **counts, **facts}


def _ranges(numbers: list[int]) -> str:
    """Return ascending numbers as ranges: "0-3, 7, 9-12"."""
    ranges: list[list[int]] = []
    for number in numbers:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ", ".join(f"{low}" if low == high else f"{low}-{high}" for low, high in ranges)
