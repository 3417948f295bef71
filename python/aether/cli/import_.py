"""`aether import`: NDJSON into a namespace, once."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import itertools
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aether.cli.faults import FAILED, INTERRUPTED, report_fault, shown, told
from aether.cli.options import Settings, shared_options
from aether.cli.output import Output
from aether.cli.progress import progress
from aether.cli.session import look, new_store, running_server
from aether.errors import AetherError
from aether.ingest.checking import DryRun
from aether.ingest.importer import Importer
from aether.ingest.mapping import Mapping
from aether.ingest.quarantine import Quarantine
from aether.ingest.sources import FORMS, form_of, open_source
from aether.store.ingest_base import KNOWN_IDS_MAX
from aether.store.memory import InMemoryEventStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aether.ingest.chunks import Source
    from aether.ingest.reports import Fault, ImportReport
    from aether.ingest.sources import Form
    from aether.store.base import EventStore

__all__ = ["import_"]

FAULTS_TOLD = 100
"""How many faults the JSON object names; stderr has them all."""
STDIN = 0


class _Command(click.Command):
    """Takes `--on-error quarantine FILE`, which click has no words for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Say `--quarantine FILE` for the file that follows the word."""
        words = [part for arg in args for part in (arg.split("=", 1) if arg.startswith("--on-error=") else (arg,))]
        places = [index + 2 for index, pair in enumerate(itertools.pairwise(words)) if pair == ("--on-error", "quarantine")]
        for place in reversed(places):
            words.insert(place, "--quarantine")
        return super().parse_args(ctx, words)


@click.command("import", cls=_Command)
@click.argument("file", metavar="FILE|-", type=click.Path(dir_okay=False, exists=True, allow_dash=True))
@click.option(
    "--sharded",
    "is_sharded",
    is_flag=True,
    help="Into a namespace of cluster nodes, which is made where it is not there. No node may serve it meanwhile: the import "
    "takes each shard that it writes to.",
)
@click.option("--dry-run", is_flag=True, help="Check everything, also what is there already, and write nothing.")
@click.option(
    "--on-error",
    type=click.Choice(["stop", "skip", "quarantine"]),
    metavar="stop|skip|quarantine FILE",
    default="stop",
    help="At a line that is no record: stop (the default), or go on behind it; quarantine also puts it into FILE, which is "
    "written anew. Each is reported.",
)
@click.option("--format", "form", type=click.Choice(FORMS), help="The input's form; else the file's name tells, or it is ndjson.")
@click.option(
    "--map",
    "rules",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Which column is which field, of csv, parquet and arrow; FIELD==TEXT is the same for every row. Can be repeated.",
)
@click.option("--delimiter", default=",", show_default=True, metavar="CHARACTER", help="What stands between the cells of csv.")
@click.option("--quarantine", type=click.Path(dir_okay=False), hidden=True)
@click.option("--skip-bad", is_flag=True, help="The same as --on-error skip.")
@click.option(
    "--ids-max",
    type=click.IntRange(min=1),
    default=KNOWN_IDS_MAX,
    show_default=True,
    metavar="N",
    help="How many stored ids are remembered; about 64 bytes each (250 in a dry run), and one actor's must fit.",
)
@shared_options()
def import_(
    settings: Settings,
    file: str,
    *,
    is_sharded: bool,
    dry_run: bool,
    on_error: str,
    quarantine: str | None,
    skip_bad: bool,
    ids_max: int,
    form: Form | None,
    rules: tuple[str, ...],
    delimiter: str,
) -> int:
    """Import events from NDJSON (or CSV, CloudEvents, Parquet, Arrow), plain, gzip or zstd, from a file or (-) from stdin.

    A line is an object with id, actor_id, event_type, timestamp (ISO 8601 with its zone) and data, and where needed metadata
    (text to text) and version. Without a version an event goes behind the actor's last one.

    Repeatable: what is there already, by its id and equal in content, is left out, so a second run changes nothing. An equal id
    with other content is reported and makes the exit code 1. The import stops at the first line that is no record, and saves
    nothing behind it, unless --on-error says otherwise.
    """
    if on_error == "quarantine" and quarantine is None:
        raise click.UsageError("--on-error quarantine needs a file: --on-error quarantine FILE")
    if len(delimiter) != 1 or not delimiter.isascii() or delimiter in '"\r\n':
        raise click.UsageError("--delimiter is one ASCII character, and no quote")
    if on_error == "stop" and skip_bad:
        on_error = "skip"
    with contextlib.ExitStack() as files:
        descriptor = files.enter_context(_opened(file))
        source = open_source(descriptor, "stdin" if file == "-" else file, form or form_of(file), Mapping(rules), delimiter)
        bad = None if dry_run or quarantine is None else files.enter_context(_opened_quarantine(quarantine, descriptor, source))
        command = _Import(settings, source, bad, dry_run=dry_run, is_sharded=is_sharded)
        return asyncio.run(command.run({"skip_bad": on_error != "stop", "ids_max": ids_max}))


@contextlib.contextmanager
def _opened_quarantine(name: str, descriptor: int, source: Source) -> Iterator[Quarantine]:
    path = Path(name)
    if path.exists() and os.path.samestat(path.stat(), os.fstat(descriptor)):
        raise click.UsageError(f"{name} is the input itself; name another file for what is wrong in it")
    with path.open("wb") as file:
        yield Quarantine(file, source)


@contextlib.contextmanager
def _opened(file: str) -> Iterator[int]:
    if file == "-":
        yield STDIN
        return
    descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Import:
    """One run of the command."""

    def __init__(
        self, settings: Settings, source: Source, quarantine: Quarantine | None, *, dry_run: bool, is_sharded: bool
    ) -> None:
        self._settings = settings
        self._source = source
        self._quarantine = quarantine
        self._dry_run, self._is_sharded = dry_run, is_sharded
        self._output = Output(as_json=settings.as_json)
        self._faults: list[dict[str, Any]] = []
        self._cpu_s = 0.0

    async def run(self, options: dict[str, Any]) -> int:
        async with self._store() as (store, commit_bytes_max):
            options |= {"commit_bytes_max": commit_bytes_max, "on_fault": self._tell_fault}
            importer = DryRun(store, **options) if self._dry_run else Importer(store, **options, quarantine=self._quarantine)
            failure: AetherError | OSError | None = None
            self._cpu_s = sum(os.times()[:2])
            try:
                async with progress(importer, self._source):
                    with _stopped_by_signals(importer):
                        await importer.run(self._source.chunks())
            except (AetherError, OSError) as error:
                failure = error
        return self._tell(importer.report, failure)

    @contextlib.asynccontextmanager
    async def _store(self) -> AsyncIterator[tuple[EventStore, int]]:
        """Yield the store and its largest commit; for a dry run into a namespace that is not there, an empty one in memory."""
        if not self._dry_run:
            async with new_store(self._settings, is_sharded=self._is_sharded) as store:
                yield store, (await store.info()).commit_bytes_max
            return
        async with running_server(self._settings, may_create=False) as url:
            mode, commit_bytes_max = await look(self._settings, url)
            if mode is None:
                yield InMemoryEventStore(), commit_bytes_max
                return
            async with new_store(self._settings._replace(url=url)) as store:
                yield store, commit_bytes_max

    def _tell_fault(self, fault: Fault) -> None:
        sys.stderr.write(
            f"aether: line {fault.line:,}: {'conflict: ' if fault.kind == 'conflict' else ''}{shown(fault.reason)}\n"
        )
        if len(self._faults) < FAULTS_TOLD:
            self._faults.append(fault._asdict())

    def _tell(self, report: ImportReport, failure: AetherError | OSError | None) -> int:
        for line in _summary(report, dry_run=self._dry_run):
            self._output.line(line, indent=0)
        code = FAILED if report.conflicts or report.failed or report.stopped else 0
        cpu_s = sum(os.times()[:2]) - self._cpu_s
        result = {"dry_run": self._dry_run, **dataclasses.asdict(report), "client_cpu_s": cpu_s, "faults": self._faults}
        if report.stopped == "interrupted":
            code = INTERRUPTED
        elif failure is not None:
            code = report_fault(failure, as_json=False)
            result["error"] = told(failure)
        self._output.result(result)
        return code


def _summary(report: ImportReport, *, dry_run: bool) -> Iterator[str]:
    """Yield what the import did, and where it stands if it did not reach the end."""
    saved = "would be saved" if dry_run else "saved"
    kinds = ((report.conflicts, "in conflict"), (report.failed, "failed or not sent"), (report.bad, "bad lines"))
    faults = "".join(f", {count:,} {name}" for count, name in kinds if count)
    counts = f"{report.read:,} read, {report.saved:,} {saved}, {report.already_there:,} already there{faults}"
    settled = report.saved + report.already_there + report.conflicts
    yield f"{counts} ({report.seconds:.1f} s, {settled / max(report.seconds, 0.001):,.0f} events/s)"
    if dry_run:
        yield "This was a dry run: nothing was written."
    elif not report.saved and not report.stopped:
        yield "Nothing changed."
    if report.stopped == "bad line":
        yield f"Stopped at line {report.lines:,}: nothing behind it was saved. Correct it, or go on without it: --on-error skip"
    elif report.stopped is not None:
        yield f"Ended early: every line up to {report.settled_line:,} is settled. To go on, run the same command again."


@contextlib.contextmanager
def _stopped_by_signals(importer: Importer | DryRun) -> Iterator[None]:
    """Let the first Ctrl-C (or SIGTERM) finish what is in flight; the second ends the import at once."""
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    asked = False

    def stop() -> None:
        nonlocal asked
        if asked and task is not None:
            task.cancel()
        asked = True
        sys.stderr.write("aether: stopping; what is in flight is finished first (once more: at once)\n")
        importer.stop()

    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, stop)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
