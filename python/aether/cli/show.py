"""`aether show`: one actor's events."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import click
from rich.text import Text

from aether.cli.faults import FAILED, shown
from aether.cli.options import Settings, actor_argument, shared_options
from aether.cli.output import Output
from aether.cli.session import existing_store
from aether.errors import AetherError, DecodeError
from aether.ingest.records import format_record

if TYPE_CHECKING:
    from aether.event import Event
    from aether.store.jetstream import JetStreamEventStore

__all__ = ["show"]

BATCH_EVENTS = 256


@click.command()
@actor_argument
@click.option("--from-version", type=click.IntRange(min=0), default=0, metavar="N", help="Begin at this version.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Show at most so many events.")
@shared_options()
def show(settings: Settings, actor_id: str, *, from_version: int, limit: int | None) -> int:
    """Show an actor's events, one a line.

    With --json each line is a record as `aether import` takes it. The exit code is 1 if there is no such actor.
    """
    return asyncio.run(_show(settings, actor_id, from_version, limit))


async def _show(settings: Settings, actor_id: str, from_version: int, limit: int | None) -> int:
    output = Output(as_json=settings.as_json)
    seen = 0
    async with existing_store(settings) as store:
        async for batch in store.read_events(actor_id, from_version, batch_size=BATCH_EVENTS):
            for event in batch[: None if limit is None else limit - seen]:
                if settings.as_json:
                    sys.stdout.write(format_record(event).decode() + "\n")
                else:
                    output.row(_row(event))
            seen += len(batch)
            if limit is not None and seen >= limit:
                return 0
        if not seen:
            return await _nothing(store, actor_id, from_version, settings.namespace)
    return 0


async def _nothing(store: JetStreamEventStore, actor_id: str, from_version: int, namespace: str) -> int:
    """Say why nothing was shown."""
    version = await store.get_latest_version(actor_id)
    if version == 0:
        raise AetherError(f"there is no event of {actor_id!r} in the namespace {namespace!r}; ids are taken letter for letter")
    sys.stderr.write(f"aether: {shown(repr(actor_id))} is at version {version}, so there is nothing from {from_version} on\n")
    return FAILED


def _row(event: Event) -> Text:
    metadata = f"  {_plain(event.metadata)}" if event.metadata else ""
    return Text.assemble(
        (f"{event.version:>6}", "bold"),
        (f"  {event.timestamp:%Y-%m-%d %H:%M:%S}", "dim"),
        (f"  {shown(event.event_type):<18}", "cyan"),
        f"  {_data(event)}",
        (metadata, "dim"),
    )


def _data(event: Event) -> str:
    try:
        return _plain(event.data)
    except DecodeError:
        return f"<{len(event.payload):,} bytes that Python cannot hold>"


def _plain(value: object) -> str:
    return shown(json.dumps(value, ensure_ascii=False, default=repr))
