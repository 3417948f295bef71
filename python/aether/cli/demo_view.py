"""What the demo looks like: on a terminal, as plain lines, and as one JSON object."""

from __future__ import annotations

import asyncio
import contextlib
import shlex
import time
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

from aether.cli.flights import tell

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aether.cli.audit import Audit
    from aether.cli.demo_run import Conflict, DemoRun, Ingestion, Kill, Replay
    from aether.cli.output import Output
    from aether.nats.server import EmbeddedServer
    from aether.store.base import StoreInfo

__all__ = ["DemoView"]

REDRAW_S = 0.1
AIRCRAFT_SHOWN = 5
STORY_SHOWN = 12


class DemoView:
    """Shows each step when it is done.

    Args:
        output: where to.
        kept: the directory that stays, or None.

    Attributes:
        told: the same as one JSON object.
    """

    def __init__(self, output: Output, kept: Path | None) -> None:
        self._out = output
        self._kept = kept
        self.told: dict[str, Any] = {"verified": False}

    def server(self, server: EmbeddedServer, info: StoreInfo) -> None:
        """Show what runs, and what an ack of it means."""
        self.told["server"] = {
            "version": info.server_version,
            "url": server.url,
            "directory": str(server.store_dir),
            "kept": self._kept is not None,
        }
        self.told["ack"] = {
            "means": info.ack_means,
            "storage": info.storage,
            "replicas": info.replicas,
            "sync": info.sync,
        }
        kept = "kept" if self._kept is not None else "temporary; --dir DIR keeps it"
        self._out.line("Aether: real events, a server that is killed twice, and a proof", "bold", indent=0)
        self._out.heading("1  A server of our own")
        self._out.pairs(
            ("server", f"nats-server {info.server_version} at {server.url}, process {server.pid}"),
            ("data", f"{server.store_dir} ({kept})"),
            ("an ack means", info.ack_means),
        )

    @contextlib.contextmanager
    def progress(self, run: DemoRun) -> Iterator[None]:
        """Show the ingestion's live rate on a terminal while this is entered."""
        self._out.heading(f"2  Ingestion: {run.total:,} events of real flights out of New York, January 2013")
        columns = (
            TextColumn("  "),
            BarColumn(bar_width=40, complete_style="cyan", finished_style="cyan"),
            TextColumn(
                "{task.completed:,.0f} of {task.total:,.0f} acked  {task.fields[rate]:,.0f} events/s  {task.fields[note]}"
            ),
        )
        with Progress(*columns, console=self._out.console, transient=True, disable=not self._out.is_live) as bar:
            shown = bar.add_task("", total=run.total, rate=0.0, note="")

            async def redraw() -> None:
                started = time.perf_counter()
                while True:
                    acked, elapsed_s = len(run.acked), time.perf_counter() - started
                    note = "server killed, kill -9" if run.killed else ""
                    bar.update(shown, completed=acked, rate=acked / max(elapsed_s, REDRAW_S), note=note)
                    await asyncio.sleep(REDRAW_S)

            redrawing = asyncio.create_task(redraw())
            try:
                yield
            finally:
                redrawing.cancel()

    def ingestion(self, done: Ingestion) -> None:
        """Show what was ingested, and the kill in its middle."""
        rate = done.events / done.seconds
        self.told["ingestion"] = {
            "events": done.events,
            "actors": done.actors,
            "commits": done.commits,
            "seconds": done.seconds,
            "events_per_s": rate,
        }
        self.told["kills"] = [done.kill._asdict()]
        self._kill(done.kill, "in the middle")
        self._out.pairs(
            ("acked", f"{done.events:,} events of {done.actors:,} aircraft in {done.commits:,} commits"),
            ("rate", f"{rate:,.0f} events/s, {done.seconds:.2f} s with the outage"),
        )

    def _kill(self, kill: Kill, when: str) -> None:
        self._out.pairs(
            ("kill -9", f"{when}, after {kill.acked:,} acked events (process {kill.pid})"),
            ("restarted", f"after {kill.down_s:.2f} s, same port, process {kill.new_pid}"),
            style="yellow",
        )

    def conflict(self, clash: Conflict) -> None:
        """Show two writers at one version."""
        self.told["conflict"] = clash._asdict()
        self._out.heading("3  A conflict: two dispatchers assign a gate to the same aircraft")
        self._out.pairs(
            ("both read", f"{clash.actor_id} at version {clash.version}"),
            ("the first", f"saves its event as version {clash.winner}"),
            ("the second", "is refused:"),
        )
        self._out.line(clash.error, "yellow", indent=15)
        self._out.pairs(("reloaded", f"it decides again, and saves its event as version {clash.loser}"))

    def proof(self, kill: Kill, found: Audit) -> None:
        """Show the comparison of acks and stream."""
        self.told["kills"].append(kill._asdict())
        self.told["verified"] = found.verified
        self.told["audit"] = {
            "acked": found.acked,
            "stored": found.stored,
            "messages": found.messages,
            **found.differences,
            "examples": found.examples,
        }
        self._out.heading("4  The proof: our record of acks against a raw dump by nats-py and a stock msgpack reader")
        self._kill(kill, "again, at the end")
        differences = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in found.differences.items())
        self._out.pairs(
            ("acked", f"{found.acked:,} events"),
            ("in the stream", f"{found.stored:,} events in {found.messages:,} messages"),
            ("differences", differences),
        )
        for example in found.examples:
            self._out.line(example, "red")
        if found.verified:
            self._out.line("Verified: every acked event is there once, where its ack said, and nothing else is.", "bold green")
        else:
            self._out.line("FAILED: the stream is not what was acknowledged.", "bold red")

    def states(self, replay: Replay) -> None:
        """Show the busiest aircraft's state."""
        rate = replay.events / replay.seconds
        flying = sum(state.flying is not None for state in replay.aircraft.values())
        self.told["replay"] = {
            "aircraft": len(replay.aircraft),
            "in_the_air": flying,
            "events": replay.events,
            "seconds": replay.seconds,
            "events_per_s": rate,
        }
        self._out.heading("5  State is derived: every aircraft's events are loaded and folded by one pure function")
        self._out.pairs(
            (
                "replayed",
                f"{replay.events:,} events of {len(replay.aircraft):,} aircraft in {replay.seconds:.2f} s, {rate:,.0f} events/s",
            ),
            ("in the air", f"{flying:,} at the sample's end"),
        )
        table = Table(box=None, padding=(0, 2, 0, 1), header_style="dim")
        for title in ("  aircraft", "version", "flights", "miles", "airports", "last seen", ""):
            table.add_column(title, justify="right" if title in ("version", "flights", "miles", "airports") else "left")
        busiest = sorted(replay.aircraft.items(), key=lambda item: (-item[1].flights, item[0]))[:AIRCRAFT_SHOWN]
        for actor_id, state in busiest:
            seen = f"{state.seen:%Y-%m-%d %H:%M}" if state.seen is not None else ""
            figures = (state.version, state.flights, state.miles, len(state.airports))
            table.add_row(f"  {actor_id}", *(f"{figure:,}" for figure in figures), seen, state.status)
        self._out.show(table)

    def story(self, replay: Replay) -> None:
        """Show one aircraft's events."""
        actor_id = replay.story[0].actor_id
        self.told["story"] = {"actor_id": actor_id, "events": [tell(event).strip() for event in replay.story]}
        self._out.heading(f"6  The story of {actor_id}, replayed")
        left_out = len(replay.story) - STORY_SHOWN
        if left_out > 0:
            self._out.line(f" ...  {left_out} earlier events", "dim")
        for event in replay.story[-STORY_SHOWN:]:
            self._out.line(tell(event))

    def next_steps(self, server: EmbeddedServer, namespace: str, replay: Replay) -> None:
        """Say what to type next."""
        where = "" if namespace == "default" else f" --namespace {namespace}"
        if self._kept is not None:
            url = shlex.quote(f"embedded:{server.store_dir}")
            steps = [
                f"aether show {replay.story[0].actor_id} --url {url}{where}",
                f"aether import FILE --url {url}{where}",
                f"aether dev --dir {shlex.quote(str(server.store_dir))}",
            ]
        else:
            steps = ["aether demo --dir ./aether-data", "aether dev --dir ./aether-data"]
        self.told["next"] = steps
        self._out.heading("Type next")
        for step in steps:
            self._out.line(step, "bold")
        self._out.line()
