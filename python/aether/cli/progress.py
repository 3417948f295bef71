"""How far an import or export is, on stderr: a bar on a terminal, now and then a line elsewhere, nothing if it is quick."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from typing import TYPE_CHECKING

from rich.console import Console
from rich.live import Live
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aether.ingest.checking import DryRun
    from aether.ingest.chunks import Source
    from aether.ingest.importer import Importer
    from aether.ingest.reports import ImportReport

__all__ = ["progress", "progress_of"]

QUIET_S = 2.0
REDRAW_S = 0.2
LINE_EVERY_S = 5.0


@contextlib.asynccontextmanager
async def progress(importer: Importer | DryRun, source: Source) -> AsyncIterator[None]:
    """Show how far an import is while this is entered."""
    async with progress_of(lambda elapsed_s: _state(importer.report, source, elapsed_s)):
        yield


@contextlib.asynccontextmanager
async def progress_of(state: Callable[[float], str]) -> AsyncIterator[None]:
    """Show how far something is while this is entered.

    Args:
        state: says it in one line, given the seconds since this was entered.
    """
    showing = asyncio.create_task(_show(state, time.monotonic()))
    try:
        yield
    finally:
        showing.cancel()
        await asyncio.gather(showing, return_exceptions=True)


async def _show(state: Callable[[float], str], started: float) -> None:
    await asyncio.sleep(QUIET_S)
    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:
        while True:
            sys.stderr.write(f"aether: {state(time.monotonic() - started)}\n")
            await asyncio.sleep(LINE_EVERY_S)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        while True:
            live.update(Text(state(time.monotonic() - started), "cyan"), refresh=True)
            await asyncio.sleep(REDRAW_S)


def _state(report: ImportReport, source: Source, elapsed_s: float) -> str:
    """Return one line: how many records are settled, at what rate, and how long the rest will take if that is known."""
    settled = report.saved + report.already_there + report.conflicts
    rate = settled / elapsed_s
    text = f"{settled:,} events, {rate:,.0f}/s"
    if source.size and source.done and rate:
        # What was read so far tells how many records the whole file has.
        total = report.read * source.size / source.done
        text += f", {100 * min(1.0, settled / total):.0f} %, about {max(0.0, (total - settled) / rate):,.0f} s left"
    return text
