"""`aether repair`: lets readers of an actor step over what is damaged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import click
import msgspec

from aether._native import shard_of
from aether.cli.cluster_state import NoClusterError, reading_cluster
from aether.cli.faults import shown
from aether.cli.options import Settings, actor_argument, shared_options
from aether.cli.output import Output
from aether.cli.session import existing_namespace, sole_owner
from aether.cluster.calls import REPAIR, NodeCalls
from aether.errors import AetherError, DeadlineError
from aether.nats.errors import NoRespondersError, UnansweredError
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from aether.cli.cluster_state import ClusterState

__all__ = ["repair"]


@click.command()
@actor_argument
@shared_options()
def repair(settings: Settings, actor_id: str) -> int:
    """Let readers of an actor step over its damaged or foreign messages.

    Nothing is deleted: a commit is added that names their positions. What they held is not read any more. In a namespace of
    cluster nodes the node that owns the actor is asked to do it.
    """
    return asyncio.run(_repair(settings, actor_id))


async def _repair(settings: Settings, actor_id: str) -> int:
    output = Output(as_json=settings.as_json)
    shard_of(actor_id)  # what is no id is refused before anything is asked
    async with existing_namespace(settings) as (url, mode):
        positions = await (_by_owner if mode == "shard" else _here)(settings, url, actor_id)
    name = shown(repr(actor_id))
    if positions:
        places = ", ".join(str(position) for position in positions)
        output.line(f"{name}: readers step over {len(positions):,} damaged messages from now on, at {places}", indent=0)
    else:
        output.line(f"{name}: nothing is damaged, and nothing was written", indent=0)
    output.result({"actor_id": actor_id, "passed": list(positions)})
    return 0


async def _here(settings: Settings, url: str, actor_id: str) -> tuple[int, ...]:
    async with JetStreamEventStore(
        url, namespace=settings.namespace, timeout_s=settings.timeout_s, options=settings.options
    ) as store:
        return await store.repair(actor_id)


async def _by_owner(settings: Settings, url: str, actor_id: str) -> tuple[int, ...]:
    """Have the node do it that owns the actor. Where none is there the shard is taken for it: a node that comes takes it back."""
    try:
        async with reading_cluster(settings, url) as state:
            _, owner, _ = state.owner_of(actor_id)
            if owner is not None and owner in state.members:
                return await _ask(state, settings, owner, actor_id)
            if state.members:
                raise AetherError(f"nobody owns {actor_id!r} at the moment; see `aether cluster status`, and type this again")
    except NoClusterError:
        pass  # it was filled by an import, and no node has joined yet
    async with sole_owner(settings, url) as store:
        return await store.repair(actor_id)


async def _ask(state: ClusterState, settings: Settings, owner: str, actor_id: str) -> tuple[int, ...]:
    calls = NodeCalls(state.connection, settings.namespace, owner, settings.timeout_s)
    deadline = asyncio.get_running_loop().time() + settings.timeout_s
    try:
        answer = await calls.request(owner, REPAIR, actor_id.encode(), deadline)
    except NoRespondersError as error:
        raise AetherError(f"{owner!r}, which owns {actor_id!r}, does not answer: {error}; type this again in a moment") from error
    except UnansweredError as error:
        raise DeadlineError(f"asking {owner!r} to repair {actor_id!r}", settings.timeout_s) from error
    return msgspec.json.decode(answer, type=tuple[int, ...])
