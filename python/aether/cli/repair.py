"""`aether repair`: lets readers of an actor step over what is damaged."""

from __future__ import annotations

import asyncio

import click

from aether.cli.faults import shown
from aether.cli.options import Settings, actor_argument, shared_options
from aether.cli.output import Output
from aether.cli.session import existing_store

__all__ = ["repair"]


@click.command()
@actor_argument
@shared_options()
def repair(settings: Settings, actor_id: str) -> int:
    """Let readers of an actor step over its damaged or foreign messages.

    Nothing is deleted: a commit is added that names their positions. What they held is not read any more.
    """
    return asyncio.run(_repair(settings, actor_id))


async def _repair(settings: Settings, actor_id: str) -> int:
    output = Output(as_json=settings.as_json)
    async with existing_store(settings) as store:
        positions = await store.repair(actor_id)
    name = shown(repr(actor_id))
    if positions:
        places = ", ".join(str(position) for position in positions)
        output.line(f"{name}: readers step over {len(positions):,} damaged messages from now on, at {places}", indent=0)
    else:
        output.line(f"{name}: nothing is damaged, and nothing was written", indent=0)
    output.result({"actor_id": actor_id, "passed": list(positions)})
    return 0
