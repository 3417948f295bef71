"""`aether export`: a namespace, or a part of it, into a file."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aether._native import EventFilter
from aether.cli.faults import FAILED, TERMINATED, report_fault, shown, told
from aether.cli.options import Settings, shared_options
from aether.cli.output import Output
from aether.cli.progress import progress_of
from aether.cli.session import existing_store
from aether.errors import AetherError, CorruptEventError
from aether.ingest.export import Exporter, count_again
from aether.ingest.formats import text_form
from aether.ingest.packing import packer
from aether.ingest.parquet import ParquetSink
from aether.ingest.part_file import PartFile
from aether.ingest.sinks import PipeSink, TextSink
from aether.ingest.sources import PACKED, form_of
from aether.store.arguments import VERSION_MAX

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

    from aether.ingest.export import ExportReport
    from aether.ingest.sinks import Sink
    from aether.ingest.sources import Form

__all__ = ["export"]

FORMS = ("ndjson", "cloudevents", "csv", "parquet")
STDOUT = 1
POSITION = click.IntRange(min=0, max=VERSION_MAX)


@click.command()
@click.argument("file", metavar="FILE|-", type=click.Path(dir_okay=False, allow_dash=True))
@click.option("--format", "form", type=click.Choice(FORMS), help="The file's form; else its name tells, or it is ndjson.")
@click.option("--actor", "actor_id", metavar="ACTOR", help="Only events of this actor.")
@click.option("--prefix", "actor_prefix", metavar="TEXT", help="Only events of actors whose id begins so.")
@click.option("--type", "event_types", multiple=True, metavar="TYPE", help="Only events of this type. Can be repeated.")
@click.option("--after", type=POSITION, default=0, metavar="POSITION", help="Begin behind this position.")
@click.option("--through", type=POSITION, metavar="POSITION", help="End with this position; else with the last there is now.")
@click.option("--step-over", is_flag=True, help="Go on behind a damaged message. Each is reported and counted.")
@shared_options()
def export(
    settings: Settings,
    file: str,
    *,
    form: Form | None,
    actor_id: str | None,
    actor_prefix: str | None,
    event_types: tuple[str, ...],
    after: int,
    through: int | None,
    step_over: bool,
) -> int:
    """Export events to NDJSON (or CloudEvents, CSV, Parquet), in position order, to a file or (-) to stdout.

    A name that ends in .gz or .zst is packed so. The file is written as FILE.part and gets its name when it is complete and was
    read again; one that has the name is then replaced. `aether import` makes equal events of it.

    A damaged message ends the export, and no file is left, unless --step-over says otherwise.
    """
    if file == "-" and settings.as_json:
        raise click.UsageError("--json would be mixed with the events; export to a file, or leave it out")
    form = form or form_of("" if file == "-" else file)
    _check_form(file, form)
    wanted = EventFilter(actor_id, actor_prefix, None, event_types or None)
    try:
        return asyncio.run(_terminable(_Export(settings, file, form, step_over=step_over).run(wanted, after, through)))
    except asyncio.CancelledError:
        sys.stderr.write("aether: terminated\n")
        return TERMINATED


async def _terminable(running: Coroutine[None, None, int]) -> int:
    """Let SIGTERM end a run as Ctrl-C does, so that it leaves no half file."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101 - a coroutine runs in one
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        return await running
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _check_form(file: str, form: Form) -> None:
    if form not in FORMS:
        raise click.UsageError(f"{form} can be imported, not exported; one of these can: {', '.join(FORMS)}")
    if form == "parquet" and (file == "-" or Path(file).suffix in PACKED):
        raise click.UsageError("parquet needs a file, and packs it itself; name it as in events.parquet")


class _Export:
    """One run of the command."""

    def __init__(self, settings: Settings, file: str, form: Form, *, step_over: bool) -> None:
        self._settings, self._file, self._form, self._step_over = settings, file, form, step_over
        self._counted: int | None = None

    async def run(self, wanted: EventFilter, after: int, through: int | None) -> int:
        report: ExportReport | None = None
        try:
            with self._sink() as (sink, part):
                async with existing_store(self._settings) as store:
                    exporter = Exporter(store, wanted, sink, self._tell_damage if self._step_over else None)
                    report = exporter.report
                    async with progress_of(lambda elapsed_s: self._state(exporter.report, elapsed_s)):
                        await exporter.run(after, through)
                        if part is not None:
                            await self._verify(report, part)
        except CorruptEventError as error:
            return self._failed(error, report)
        return self._tell(report)

    @contextlib.contextmanager
    def _sink(self) -> Iterator[tuple[Sink, PartFile | None]]:
        if self._file == "-":
            yield PipeSink(STDOUT, text_form(self._form, self._settings.namespace)), None
            return
        packing = packer(self._file)
        with PartFile(self._file) as part:
            if self._form != "parquet":
                yield TextSink(part, text_form(self._form, self._settings.namespace), packing), part
                return
            with contextlib.closing(ParquetSink(part)) as sink:
                yield sink, part

    async def _verify(self, report: ExportReport, part: PartFile) -> None:
        """Give the file its name if it holds what was written."""
        report.verified = self._counted = 0
        report.verified = await count_again(str(part.path), self._form, self._note_count)
        if report.verified != report.events:
            raise AetherError(
                f"{self._file}: {report.events:,} events were written, {report.verified:,} are there; is the disk sound?"
            )
        part.keep()

    def _note_count(self, count: int) -> None:
        self._counted = count

    def _tell_damage(self, error: CorruptEventError) -> None:
        sys.stderr.write(f"aether: stepped over: {shown(str(error))}\n")

    def _state(self, report: ExportReport, elapsed_s: float) -> str:
        """Return one line: how many events, at what rate, and how long the rest will take."""
        if self._counted is not None:
            return f"{self._counted:,} of {report.events:,} events read again"
        text = f"{report.events:,} events, {report.events / elapsed_s:,.0f}/s"
        done, whole = report.position - report.after, report.through - report.after
        if done and whole > 0:
            left_s = elapsed_s * (whole - done) / done
            text += (
                f", position {report.position:,} of {report.through:,}, {100 * done / whole:.0f} %, about {left_s:,.0f} s left"
            )
        return text

    def _failed(self, error: CorruptEventError, report: ExportReport | None) -> int:
        """Say where the export broke off, and what to type."""
        code = report_fault(error, as_json=False)
        where = "nothing was kept" if self._file != "-" else "what comes before it was written"
        sys.stderr.write(f"aether: ended at position {error.position:,}; {where}; to go on behind damage: --step-over\n")
        done = {} if report is None else dataclasses.asdict(report)
        Output(as_json=self._settings.as_json).result({**done, "error": told(error)})
        return code

    def _tell(self, report: ExportReport) -> int:
        parts = [f"{report.events:,} events through position {report.through:,}"]
        if report.damaged:
            parts.append(f"{report.damaged:,} damaged messages stepped over")
        if report.verified is not None:
            parts.append(f"{report.verified:,} read again from {shown(self._file)}")
        rate = report.events / max(report.seconds, 0.001)
        summary = f"{', '.join(parts)} ({report.seconds:.1f} s, {rate:,.0f} events/s)"
        if self._file == "-":
            sys.stderr.write(f"aether: {summary}\n")
        else:
            output = Output(as_json=self._settings.as_json)
            output.line(summary, indent=0)
            output.result({"file": self._file, "format": self._form, **dataclasses.asdict(report)})
        return FAILED if report.damaged else 0
