"""`aether dev`: a server to develop against."""

from __future__ import annotations

import asyncio
import shlex
import signal
from typing import TYPE_CHECKING, Literal

import click

from aether.cli.options import Settings, directory_of, directory_option, shared_options, sync_option
from aether.cli.output import Output
from aether.cli.session import START_S
from aether.errors import ServerUnavailableError
from aether.nats.server import EmbeddedServer
from aether.store.jetstream import JetStreamEventStore

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["dev"]

DEFAULT_PORT = 4222
PORT_MAX = 65_535
ALIVE_POLL_S = 0.2


@click.command()
@directory_option
@click.option(
    "--port",
    type=click.IntRange(0, PORT_MAX),
    default=DEFAULT_PORT,
    show_default=True,
    metavar="PORT",
    help="The port on 127.0.0.1; 0: a free one.",
)
@sync_option
@shared_options(own_server=True)
def dev(settings: Settings, directory: Path | None, port: int, sync: Literal["always"] | float) -> int:
    """Run a server to develop against, until Ctrl-C.

    It is a real nats-server with JetStream that listens on this machine only.
    """
    return asyncio.run(_dev(settings, directory_of(settings, directory), port, sync))


async def _dev(settings: Settings, directory: Path | None, port: int, sync: Literal["always"] | float) -> int:
    output = Output(as_json=settings.as_json)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    async with EmbeddedServer(directory, port=port, sync=sync, timeout_s=max(START_S, settings.timeout_s)) as server:
        async with JetStreamEventStore(server.url, namespace=settings.namespace, timeout_s=settings.timeout_s) as store:
            info = (await store.info())._replace(sync=server.sync)
        kept = directory is not None
        output.line(f"nats-server {info.server_version} is ready; end it with Ctrl-C", "bold", indent=0)
        output.line()
        output.pairs(
            ("url", server.url),
            ("data", f"{server.store_dir} ({'kept' if kept else 'temporary, gone at the end; --dir DIR keeps it'})"),
            ("namespace", info.namespace),
            ("an ack means", info.ack_means),
            ("in Python", f'aether.JetStreamEventStore("{server.url}", namespace="{info.namespace}")'),
        )
        output.heading("Type next, in another terminal")
        for step in _next_steps(server, settings.namespace):
            output.line(step, "bold")
        output.result(
            {"url": server.url, "directory": str(server.store_dir), "kept": kept, "pid": server.pid, "ack_means": info.ack_means}
        )
        while not ended.is_set():
            await _wait(ended, ALIVE_POLL_S)
            if not server.alive and not ended.is_set():
                raise ServerUnavailableError(
                    server.url, f"nats-server ended on its own; its log: {server.store_dir}/nats-server.log"
                )
    output.line()
    output.line("ended; the data is kept" if kept else "ended", indent=0)
    return 0


async def _wait(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _next_steps(server: EmbeddedServer, namespace: str) -> list[str]:
    options = "" if server.port == DEFAULT_PORT else f" --url {server.url}"
    options += "" if namespace == "default" else f" --namespace {shlex.quote(namespace)}"
    return [
        f"aether import FILE{options}",
        f"aether show ACTOR{options}",
    ]
