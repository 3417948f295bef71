"""`aether demo`: real events through a real server that is killed twice, and the proof that nothing was lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import click
import nats.errors

from aether.cli import audit
from aether.cli.demo_cluster import demo_cluster
from aether.cli.demo_run import DemoRun
from aether.cli.demo_view import DemoView
from aether.cli.faults import FAILED
from aether.cli.options import Settings, directory_of, directory_option, shared_options, sync_option
from aether.cli.output import Output
from aether.errors import AetherError
from aether.nats.errors import client_error
from aether.nats.server import EmbeddedServer
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["demo"]


@click.command()
@click.option("--cluster", is_flag=True, help="Three node processes instead: one is killed under load, and the shards move.")
@directory_option
@sync_option
@shared_options(own_server=True)
def demo(settings: Settings, directory: Path | None, sync: Literal["always"] | float, *, cluster: bool) -> int:
    """See Aether work: 5,000 real events, a server killed twice, and a proof.

    The events are flights out of New York in January 2013; an actor is an aircraft. Every figure is measured in this run. The
    exit code is 1 if what was acknowledged differs from what a raw dump of the stream holds.

    With --cluster three processes share 120 accounts: one of them is killed under load, comes back, and another one leaves.
    """
    if cluster:
        return asyncio.run(demo_cluster(settings, directory_of(settings, directory), sync))
    return asyncio.run(_demo(settings, directory_of(settings, directory), sync))


async def _demo(settings: Settings, directory: Path | None, sync: Literal["always"] | float) -> int:
    output = Output(as_json=settings.as_json)
    view = DemoView(output, kept=directory)
    server = EmbeddedServer(directory, sync=sync, timeout_s=max(settings.timeout_s, 10.0))
    async with server, JetStreamEventStore(server.url, namespace=settings.namespace, timeout_s=settings.timeout_s) as store:
        try:
            if await audit.count_messages(server.url, settings.namespace):
                raise AetherError(
                    f"{server.store_dir} has events in the namespace {settings.namespace!r} already, "
                    "and the demo begins with none; name another --dir or another --namespace"
                )
            run = DemoRun(server, store, settings.namespace)
            await _show(run, view)
        except nats.errors.Error as error:
            raise client_error(server.url, error) from error
    output.result(view.told)
    return 0 if view.told["verified"] is True else FAILED


async def _show(run: DemoRun, view: DemoView) -> None:
    """Do each step and show what it did."""
    view.server(run.server, await run.info())
    with view.progress(run):
        view.ingestion(await run.ingest())
    view.conflict(await run.conflict())
    view.proof(await run.kill(), await run.audit())
    replay = await run.replay()
    view.states(replay)
    view.story(replay)
    view.next_steps(run.server, run.namespace, replay)
