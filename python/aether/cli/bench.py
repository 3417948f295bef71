"""`aether bench`: what the stores do here, each figure beside its baseline in the same run."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from aether.bench import SCENARIOS
from aether.bench.setting import Setting
from aether.bench.tables import about, as_json, as_text
from aether.nats.server import EmbeddedServer, parse_embedded_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aether.bench.measure import Line

__all__ = ["bench"]

PACKAGES = ("aether-events", "nats-py")


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice([*SCENARIOS]), metavar=f"[{'|'.join(SCENARIOS)}]...")
@click.option(
    "--url",
    default="embedded",
    show_default=True,
    metavar="URL",
    help="The server: nats://HOST:PORT, or embedded for one of its own, with the server's default sync interval.",
)
@click.option(
    "--size",
    type=click.Choice(["quick", "ci", "full"]),
    default="quick",
    show_default=True,
    help="How much is done, and how often.",
)
@click.option("--messages", type=click.IntRange(10_000), metavar="N", help="Among how many messages load looks.")
@click.option(
    "--nats",
    "nats_command",
    type=click.Path(exists=True, dir_okay=False, executable=True),
    metavar="FILE",
    help="The official command nats, as a further baseline; without, the one in PATH if there is one.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print JSON only, for programs.")
def bench(scenarios: tuple[str, ...], url: str, as_json_: bool, nats_command: str | None, **rest: Any) -> int:  # noqa: ANN401 - click's
    """Measure the stores on a real server, each beside its baseline.

    The sides take turns within every repetition, and a ratio is the median of theirs through ours within each: 2.00 is twice as
    fast as the baseline. Ends with 1 if a target is missed.
    """
    names = [name for name in SCENARIOS if name in scenarios or not scenarios]
    lines, ack_means = asyncio.run(_run(names, url, nats_command or shutil.which("nats"), **rest))
    told = {**about("aether bench", _typed(), PACKAGES), "an ack means": ack_means}
    if as_json_:
        sys.stdout.write(msgspec.json.encode(as_json(told, lines)).decode() + "\n")
    else:
        sys.stdout.write(as_text(told, lines, rates=True) + "\n")
    return 1 if any(line.met is False for line in lines) else 0


def _typed() -> str:
    return " ".join(["aether", *sys.argv[1:]])


async def _run(
    names: list[str], url: str, nats_command: str | None, size: Literal["quick", "ci", "full"], messages: int | None
) -> tuple[list[Line], str]:
    lines: list[Line] = []
    async with _server(url) as (running, sync, pids):
        setting = Setting(running, size, _saying(), nats_command, messages, pids, sync=sync or "")
        async with setting.store() as store:
            info = await store.info()
        for name in names:
            lines += await SCENARIOS[name](setting)
    return lines, f"{info._replace(sync=sync or info.sync).ack_means}; nats-server {info.server_version}"


@contextlib.asynccontextmanager
async def _server(url: str) -> AsyncIterator[tuple[str, str | None, tuple[int, ...]]]:
    """Yield a running server's URL, its sync interval in words and its process, where they are known."""
    directory = parse_embedded_url(url) if url != "embedded" else None
    if url != "embedded" and directory is None:
        yield url, None, ()
        return
    async with EmbeddedServer(directory, sync=120) as server:
        yield server.url, server.sync, (server.pid,)


def _saying() -> Callable[[str], None]:
    started = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"aether: {time.monotonic() - started:6.1f} s  {text}\n")
        sys.stderr.flush()

    return say
