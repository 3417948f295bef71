"""`aether bench`: what the stores do here, each figure beside its baseline in the same run."""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

import click
import msgspec

from aether.bench import AGAINST, SCENARIOS, peers
from aether.bench.servers import check_servers, running
from aether.bench.setting import Setting
from aether.bench.tables import about, as_json, as_text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aether.bench.lines import Line

__all__ = ["bench"]

PACKAGES = ("aether-events", "nats-py")


@click.command()
@click.argument("scenarios", nargs=-1, type=click.Choice([*SCENARIOS]), metavar=f"[{'|'.join(SCENARIOS)}]...")
@click.option(
    "--url",
    default="embedded",
    show_default=True,
    metavar="URL",
    help="The server: nats://HOST:PORT, or embedded for one of its own.",
)
@click.option(
    "--size",
    type=click.Choice(["quick", "ci", "full"]),
    default="quick",
    show_default=True,
    help="How much is done, and how often.",
)
@click.option(
    "--messages",
    type=click.IntRange(10_000),
    metavar="N",
    help="Among how many messages load looks, and how many sustained puts.",
)
@click.option(
    "--processes",
    type=click.IntRange(2, 64),
    default=2,
    show_default=True,
    metavar="N",
    help="How many processes put events at once in the scenario processes.",
)
@click.option(
    "--nats",
    "nats_command",
    type=click.Path(exists=True, dir_okay=False, executable=True),
    metavar="FILE",
    help="The official command nats, as a further baseline; without, the one in PATH if there is one.",
)
@click.option(
    "--storage",
    type=click.Choice(["file", "memory"]),
    default="file",
    show_default=True,
    help="What holds the streams.",
)
@click.option(
    "--sync",
    type=click.Choice(["default", "always"]),
    help="When a server of its own syncs what it acks: every 2 minutes, as by default, or always before the ack.",
)
@click.option(
    "--replicas",
    type=click.Choice(["1", "3"]),
    default="1",
    show_default=True,
    help="How many servers hold the streams; with 3 and no --url it starts a cluster of three.",
)
@click.option(
    "--against",
    type=click.Choice([*AGAINST]),
    help="Our stores beside other event stores for Python, as far as they are installed; alone, or after the scenarios named.",
)
@click.option("--json", "as_json_", is_flag=True, help="Print JSON only, for programs.")
def bench(
    scenarios: tuple[str, ...],
    url: str,
    as_json_: bool,
    nats_command: str | None,
    against: str | None,
    **rest: Any,  # noqa: ANN401
) -> int:
    """Measure the stores on a real server, each beside its baseline.

    The sides take turns within every repetition, and a ratio is the median of theirs through ours within each: 2.00 is twice as
    fast as the baseline. Ends with 1 if a target is missed.
    """
    rest["replicas"] = int(rest["replicas"])
    try:
        check_servers(url, rest["sync"], rest["replicas"])
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    names = [name for name in SCENARIOS if name in scenarios or not (scenarios or against)]
    measures = [*(SCENARIOS[name] for name in names), *([AGAINST[against]] if against else [])]
    lines, ack_means = asyncio.run(_run(measures, url, nats_command or shutil.which("nats"), **rest))
    told = {**about("aether bench", _typed(), [*PACKAGES, *(peers.PACKAGES if against else ())]), "an ack means": ack_means}
    if as_json_:
        sys.stdout.write(msgspec.json.encode(as_json(told, lines)).decode() + "\n")
    else:
        sys.stdout.write(as_text(told, lines, rates=True) + "\n")
    return 1 if any(line.met is False for line in lines) else 0


def _typed() -> str:
    return " ".join(["aether", *sys.argv[1:]])


async def _run(
    measures: list[Callable[[Setting], Awaitable[list[Line]]]],
    url: str,
    nats_command: str | None,
    sync: Literal["default", "always"] | None,
    **rest: Any,  # noqa: ANN401 - the setting's
) -> tuple[list[Line], str]:
    lines: list[Line] = []
    async with running(url, sync, rest["replicas"]) as servers:
        setting = Setting(
            servers.url, say=_saying(), nats_command=nats_command, server_pids=servers.pids, sync=servers.sync, **rest
        )
        async with setting.store() as store:
            info = await store.info()
        for measure in measures:
            lines += await measure(setting)
    return lines, f"{info._replace(sync=servers.sync or info.sync).ack_means}; nats-server {info.server_version}"


def _saying() -> Callable[[str], None]:
    started = time.monotonic()

    def say(text: str) -> None:
        sys.stderr.write(f"aether: {time.monotonic() - started:6.1f} s  {text}\n")
        sys.stderr.flush()

    return say
